//! Delivery over a disk that fails in every way, compared with a model.

mod cache;
mod combine;
mod crash;
mod disk;
mod full;
mod outside;
mod random;
mod restore;
mod rotate;
mod world;
