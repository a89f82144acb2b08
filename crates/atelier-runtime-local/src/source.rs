//! Where images come from, as far as a container is concerned.

use std::path::PathBuf;

use async_trait::async_trait;
use atelier_core::id::ImageId;
use atelier_core::image::BUILT_IN;
use atelier_runtime::{Reporter, RuntimeError};

use crate::image::{ImageError, ImageStore, RootImage};

/// An image that containers can be made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyImage {
    /// Its unpacked layers, topmost first: folders with unshifted ids that do not change any more.
    pub layers: Vec<PathBuf>,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The beginning of its notebook server's command line; an absolute path first.
    pub server: Vec<String>,
    /// What its programs want in their environment.
    pub environment: Vec<(String, String)>,
    /// Its interpreters, when no tenant has ever changed what they import, so that root of this machine may import it.
    pub zygotes: Option<Pythons>,
}

/// The interpreters of an image, by their paths in a notebook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pythons {
    /// The notebook server's.
    pub server: String,
    /// The kernels'.
    pub kernels: String,
    /// What only a notebook's volume has, by its path from the root, and what it begins as.
    pub links: Vec<(PathBuf, PathBuf)>,
}

/// A store of images.
#[async_trait]
pub trait ImageSource: Send + Sync {
    /// The image; it is built or fetched first where it must be, which takes long. Many callers may wait for one.
    async fn ensure(&self, image: ImageId, reporter: &dyn Reporter) -> Result<ReadyImage, RuntimeError>;

    /// The size of an image in bytes, when it is there already. Never builds or fetches.
    async fn size(&self, image: ImageId) -> Option<u64>;
}

#[async_trait]
impl ImageSource for ImageStore {
    async fn ensure(&self, image: ImageId, reporter: &dyn Reporter) -> Result<ReadyImage, RuntimeError> {
        if image != BUILT_IN {
            return Err(RuntimeError::Permanent(format!("there is no image `{image}` here")));
        }
        Ok(self.ensure_built_in(reporter).await?.into())
    }

    async fn size(&self, image: ImageId) -> Option<u64> {
        self.built_in().filter(|_| image == BUILT_IN).map(|root| root.size_bytes)
    }
}

impl From<RootImage> for ReadyImage {
    fn from(root: RootImage) -> Self {
        Self {
            layers: root.layers,
            size_bytes: root.size_bytes,
            server: root.server_argv_prefix,
            environment: root.environment,
            zygotes: Some(root.pythons),
        }
    }
}

impl From<ImageError> for RuntimeError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Io { .. } => Self::Transient(error.to_string()),
            _ => Self::Permanent(error.to_string()),
        }
    }
}
