use std::io;
use std::path::Path;

use super::Content;

/// Puts a file under its name only when it is whole.
pub(crate) async fn copy(content: Content<'_>, to: &Path) -> io::Result<()> {
    let folder = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
    tokio::fs::create_dir_all(folder).await?;
    let mut name = std::ffi::OsString::from(".lem-");
    name.push(to.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    let partial = folder.join(name);
    let written = match content {
        Content::File { path, .. } => tokio::fs::copy(path, &partial).await.map(drop),
        Content::Bytes(bytes) => tokio::fs::write(&partial, bytes).await,
    };
    match written {
        Ok(()) => tokio::fs::rename(&partial, to).await,
        Err(error) => {
            let _ = tokio::fs::remove_file(&partial).await;
            Err(error)
        }
    }
}
