//! Stand-ins on loopback for the other services of AWS: each answers as a function says, and keeps its requests.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A request: `GET /path`, its headers with lower-case names, its body.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Heard {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A response: status, content type and body.
pub type Said = (u16, &'static str, String);

/// A running stand-in. Dropping it ends it.
pub struct StandIn {
    pub url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    _serving: JoinSet<()>,
}

impl StandIn {
    pub async fn new(answer: impl Fn(&Heard) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&heard), Arc::new(answer));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                connections.spawn(async move {
                    // A client that goes away has what it wanted.
                    let _gone = serve(stream, &kept, &*answer).await;
                });
            }
        });
        Self { url, heard, _serving: serving }
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(
    stream: TcpStream,
    kept: &Mutex<Vec<Heard>>,
    answer: &(dyn Fn(&Heard) -> Said + Send + Sync),
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut heard = Heard::default();
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        heard.line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            heard.headers.push((name.to_lowercase(), value.to_owned()));
        }
        let length = heard.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        heard.body = String::from_utf8(body).unwrap();
        let (status, content_type, body) = answer(&heard);
        kept.lock().unwrap().push(heard);
        let head = format!(
            "HTTP/1.1 {status} Said\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\
             x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
    }
}

/// Answers as STS does, with keys of this id; the same for a role and for a web identity.
pub fn role(heard: &Heard, key_id: &str, expiration: &str) -> Said {
    let action = if heard.body.contains("Action=AssumeRoleWithWebIdentity") { "AssumeRoleWithWebIdentity" } else { "AssumeRole" };
    let body = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>\
         <Expiration>{expiration}</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>AROA:riverbed</AssumedRoleId>\
         <Arn>arn:aws:sts::123456789012:assumed-role/reader/riverbed</Arn></AssumedRoleUser></{action}Result>\
         <ResponseMetadata><RequestId>0</RequestId></ResponseMetadata></{action}Response>"
    );
    (200, "text/xml", body)
}

/// Returns keys as containers and instances serve them.
pub fn keys(key_id: &str, expiration: &str) -> String {
    format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2026-01-31T12:00:00Z","AccessKeyId":"{key_id}",
            "SecretAccessKey":"secret","Token":"token","Expiration":"{expiration}"}}"#
    )
}
