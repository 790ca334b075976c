#!/usr/bin/env bash
# sqlx 0.9.0 (Rust), with MariaDB 10.11.19: after a begin() that was given up, what others write by the pool is in a
# transaction that nobody has and nobody commits.
#
# One would expect what the changes of 0.9.0 say: a transaction that is dropped during BEGIN is rolled back. But the
# rollback is sent if the transaction is counted, and with MySQL's protocol it is counted when BEGIN was answered. When
# the future is dropped before that, by a timeout(), a select!, or a web framework whose client has gone, the connection
# is asked for a sign of life, and goes back into the pool with the transaction open. Who gets it next and writes
# without a transaction of his own is told that a row was stored. Nobody else sees it, the row stays locked, and it is
# gone when the connection ends, in silence: by default after half an hour at the latest. If somebody begins a
# transaction on that connection before, its BEGIN commits what was there. So a slow moment of the database, in which
# requests run out of time, makes the writes of others disappear that come after it. What helps is to begin in a task
# that is spawned, and so never dropped. (For PostgreSQL it was mended after 0.9.0, by its change 4394.)
#
# Shown with a proxy that holds back the answer to one BEGIN for 2 s, and three rows that are stored after that by a
# pool of one connection, each with "1 row affected". Seen, when begin() is given up after 1 s: the pool reads 3,
# another connection 0, and 0 when the pool is closed; and 0, then 3, when another transaction is begun and rolled back;
# when it is not given up, but dropped once begun: 3 and 3.
# Exits 1 when that is no longer so. Needs Debian 12 (amd64) with python3.11, and cargo (Rust 1.94 or newer); the build
# takes half a minute to a minute.
set -euo pipefail
version=1:10.11.19-0+deb12u1
folder=$(mktemp -d)
server=
proxy=
trap '[ -z "$proxy" ] || kill "$proxy" 2>/dev/null || true
[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true
rm -rf "$folder"' EXIT
chmod 755 "$folder"
export CARGO_HOME="$folder/cargo" CARGO_TARGET_DIR="$folder/target" CARGO_INCREMENTAL=0
mkdir -p "$folder/show/src"
cd "$folder/show"
cat >Cargo.toml <<'TOML'
[package]
name = "show"
version = "1.0.0"
edition = "2021"

[dependencies]
sqlx = { version = "=0.9.0", default-features = false, features = ["mysql", "runtime-tokio"] }
tokio = { version = "=1.54.1", features = ["macros", "rt", "time"] }

[profile.dev]
debug = 0
TOML
cat >src/main.rs <<'RS'
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use sqlx::{Connection, Executor, MySqlConnection, Row};
use tokio::time::{sleep, timeout};

const LATE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(1);

async fn counted(database: impl Executor<'_, Database = sqlx::MySql>) -> sqlx::Result<i64> {
    database.fetch_one("SELECT COUNT(*) FROM m").await?.try_get(0)
}

/// A pool of one connection, whose first begin() was given up or not, and by which three rows were stored after that.
async fn written(options: MySqlConnectOptions, patience: Duration) -> sqlx::Result<MySqlPool> {
    let pool = MySqlPoolOptions::new().max_connections(1).connect_with(options).await?;
    let begun = timeout(patience, pool.begin()).await;
    println!("begin(): {}", if begun.is_ok() { "done, and dropped" } else { "given up" });
    drop(begun);
    sleep(LATE + PATIENCE).await;
    for id in 1..=3 {
        let done = sqlx::query("INSERT INTO m VALUES (?)").bind(id).execute(&pool).await?;
        assert_eq!(done.rows_affected(), 1);
    }
    Ok(pool)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> sqlx::Result<()> {
    let sockets: Vec<String> = std::env::args().skip(1).collect();
    let options = |socket: &str| MySqlConnectOptions::new().socket(socket).username("root");
    let mut other = MySqlConnection::connect_with(&options(&sockets[0])).await?;
    other.execute("CREATE DATABASE d").await?;
    other.execute("USE d").await?;
    other.execute("CREATE TABLE m (id INT PRIMARY KEY) ENGINE=InnoDB").await?;
    let late = || options(&sockets[1]).database("d");

    let pool = written(late(), PATIENCE).await?;
    let mut lost = vec![counted(&pool).await?, counted(&mut other).await?];
    pool.close().await;
    lost.push(counted(&mut other).await?);
    println!("by the pool, by another, and when the pool is closed: {lost:?}");

    let pool = written(late(), PATIENCE).await?;
    let mut committed = vec![counted(&mut other).await?];
    pool.begin().await?.rollback().await?;
    committed.push(counted(&mut other).await?);
    println!("by another, and after a transaction that was rolled back: {committed:?}");
    pool.close().await;
    other.execute("DELETE FROM m").await?;

    let pool = written(late(), 10 * LATE).await?;
    let kept = vec![counted(&pool).await?, counted(&mut other).await?];
    println!("by the pool, and by another: {kept:?}");
    pool.close().await;

    let as_stated = lost == [3, 0, 0] && committed == [0, 3] && kept == [3, 3];
    std::process::exit(if as_stated { 0 } else { 1 });
}
RS
cargo build --quiet
cd "$folder"
apt-get -o APT::Sandbox::User=root download -qq "mariadb-server-core=$version"
dpkg-deb -x mariadb-server-core_*.deb server
mkdir data
server/usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" \
    --lc-messages-dir="$folder/server/usr/share/mysql" --socket="$folder/s" --skip-networking \
    --skip-grant-tables --pid-file="$folder/pid" >log 2>&1 &
server=$!
cat >proxy.py <<'PY'
import asyncio
import contextlib
import sys

LATE = 2
BEGIN = b"\x03BEGIN"


async def through(client, to_client):
    """Hands on what comes, and the answer to the first BEGIN of a connection later."""
    server, to_server = await asyncio.open_unix_connection(sys.argv[1])
    begins = 0

    async def there():
        nonlocal begins
        while data := await client.read(65536):
            begins += BEGIN in data
            to_server.write(data)
        to_server.close()

    async def back():
        held = False
        while data := await server.read(65536):
            if begins and not held:
                held = True
                await asyncio.sleep(LATE)
            to_client.write(data)
        to_client.close()

    with contextlib.suppress(ConnectionError):
        await asyncio.gather(there(), back())


async def main():
    async with await asyncio.start_unix_server(through, sys.argv[2]) as listening:
        await listening.serve_forever()


asyncio.run(main())
PY
for _ in $(seq 100); do [ -S s ] && break; sleep 0.1; done
python3.11 proxy.py "$folder/s" "$folder/late" &
proxy=$!
for _ in $(seq 100); do [ -S late ] && break; sleep 0.1; done
target/debug/show "$folder/s" "$folder/late"
