//! Images: the root file systems that notebooks start from.

use crate::id::ImageId;

/// An image as notebooks and lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Its name.
    pub name: String,
    /// Its version.
    pub tag: String,
    /// The organisation it belongs to.
    pub namespace: String,
    /// What it is, for people.
    pub description: String,
    /// `registry/organisation/name:tag`.
    pub swr_path: String,
    /// Its size in bytes, once it is known.
    pub size_bytes: Option<u64>,
}

/// The id of the built-in image: the one that every example of the contract uses.
pub const BUILT_IN: ImageId = ImageId::from_uuid(uuid::uuid!("e1a07296-22a8-4f05-8bc8-e936c8e54090"));

impl Image {
    /// The built-in image.
    pub fn built_in(size_bytes: Option<u64>) -> Self {
        let (namespace, name, tag) = ("atelier", "jupyterlab-cpu-py3", "1.0.0");
        Self {
            id: BUILT_IN,
            name: name.into(),
            tag: tag.into(),
            namespace: namespace.into(),
            description: "JupyterLab with Python 3, NumPy, pandas, Matplotlib, pip, uv and git".into(),
            swr_path: format!("atelier.local/{namespace}/{name}:{tag}"),
            size_bytes,
        }
    }
}
