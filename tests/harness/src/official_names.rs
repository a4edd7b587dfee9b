//! The host names of Alibaba Cloud, behind which an emulator answers: a certificate for them, and a proxy that leads
//! all of them to one address.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use imm_emulator::TlsFiles;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::error::{HarnessError, Result};

/// The names of the services, without the domain. Buckets are also looked for in other regions.
const NAMES: [&str; 15] = [
    "oss-REGION",
    "*.oss-REGION",
    "oss-REGION-internal",
    "*.oss-REGION-internal",
    "REGION.oss",
    "*.REGION.oss",
    "*.oss-accelerate",
    "imm.REGION",
    "imm-vpc.REGION",
    "sts",
    "sts-vpc.REGION",
    "sts-vpc.cn-hangzhou",
    "*.oss-cn-beijing",
    "*.oss-cn-hangzhou",
    "*.oss-ap-southeast-1",
];

/// Writes `certificate.pem`, which is its own authority, and `key.pem`, for the services of a region. Fails if a file
/// cannot be written.
pub fn certificate(folder: &Path, region: &str) -> Result<TlsFiles> {
    let failed = |error| HarnessError::io("writing a certificate")(error);
    let names = NAMES.map(|name| format!("{}.aliyuncs.com", name.replace("REGION", region)));
    let own = rcgen::generate_simple_self_signed(names).map_err(|error| failed(io::Error::other(error)))?;
    let files = TlsFiles {
        certificate: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
    };
    std::fs::write(&files.certificate, own.cert.pem()).map_err(failed)?;
    std::fs::write(&files.key, own.signing_key.serialize_pem()).map_err(failed)?;
    Ok(files)
}

/// Starts a proxy for TLS connections, all of which lead to one address. Returns where it listens. It ends with the
/// runtime. Fails if no port is free.
pub async fn proxy_to(address: SocketAddr) -> Result<String> {
    let failed = |error| HarnessError::io("starting a proxy")(error);
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let own = listener.local_addr().map_err(failed)?.to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connect(stream, address));
        }
    });
    Ok(own)
}

async fn connect(stream: TcpStream, address: SocketAddr) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    // The head of a CONNECT request ends with an empty line.
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
    }
    let mut target = TcpStream::connect(address).await?;
    stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
    copy_bidirectional(&mut stream, &mut target).await?;
    Ok(())
}
