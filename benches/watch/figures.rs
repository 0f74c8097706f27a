//! Figures compared with their marks.

use std::process::ExitCode;

/// Whether a figure so far has missed its mark.
#[derive(Debug, Default)]
pub struct Figures {
    missed: bool,
}

impl Figures {
    pub fn at_most(&mut self, name: &str, figure: f64, mark: f64, unit: &str) {
        self.print(figure <= mark, &format!("{name}: {figure:.2} {unit} (at most {mark} {unit})"));
    }

    pub fn at_least(&mut self, name: &str, figure: f64, mark: f64, unit: &str) {
        self.print(figure >= mark, &format!("{name}: {figure:.0} {unit} (at least {mark} {unit})"));
    }

    pub fn exactly(&mut self, name: &str, count: usize, mark: usize) {
        self.print(count == mark, &format!("{name}: {count} (exactly {mark})"));
    }

    /// Takes a part of a case that printed its own figures.
    pub fn add(&mut self, is_well: bool) {
        self.missed |= !is_well;
    }

    pub fn verdict(&self) -> ExitCode {
        if self.missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn print(&mut self, is_well: bool, figure: &str) {
        self.missed |= !is_well;
        println!("{} {figure}", if is_well { "ok    " } else { "MISS  " });
    }
}
