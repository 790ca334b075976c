#!/usr/bin/env bash
# GORM 1.31.2 (Go), with MariaDB 10.11.19: FindInBatches() after Order() leaves rows out and gives others twice, without
# an error.
#
# One would expect each row that Find() would give, once: it is there to go through what is too much for the memory, a
# campaign's receivers, messages to be deleted, an export. To have the next batch it asks for what has a greater primary
# key than the last row, and orders by the primary key, after the order that the query already has. So after
# Order("day") all rows are left out whose id is smaller than that of the row that happens to be the last of a batch.
# In a test with fewer rows than a batch holds all is right, and so it is without an order. RowsAffected counts what
# was given. (Its issues 3983 and 5027 tell of it; they were closed as stale.)
#
# Seen, ten rows whose days go backwards, batches of two: Order("day"): 10 9 10, and no error; without it all ten.
# With a condition, of the five that are ann's: 9 7 9 and no error; without the order all five. Find() gives ten and five.
# Exits 1 when that is no longer so. Needs Debian 12 (amd64), and Go 1.24 or newer.
set -euo pipefail
version=1:10.11.19-0+deb12u1
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
chmod 755 "$folder"
mkdir "$folder/program"
cd "$folder/program"
cat >go.mod <<'MOD'
module example.test/batches

go 1.24

require (
	github.com/go-sql-driver/mysql v1.10.1
	gorm.io/driver/mysql v1.6.0
	gorm.io/gorm v1.31.2
)
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"gorm.io/driver/mysql"
	"gorm.io/gorm"
)

const size = 2

type Message struct {
	ID     int
	Sender string
	Day    int
}

// ids tells what Find gives, and what comes in batches.
func ids(name string, query *gorm.DB) string {
	query = query.Session(&gorm.Session{})
	var found, messages []Message
	if err := query.Find(&found).Error; err != nil {
		panic(err)
	}
	var given []int
	done := query.FindInBatches(&messages, size, func(*gorm.DB, int) error {
		for _, message := range messages {
			given = append(given, message.ID)
		}
		return nil
	})
	seen := fmt.Sprint(len(found), " found, given ", given, ", ", done.Error)
	fmt.Printf("  %s: %s\n", name, seen)
	return seen
}

func main() {
	at := "root@unix(" + os.Args[1] + ")/"
	db, err := gorm.Open(mysql.Open(at))
	if err != nil {
		panic(err)
	}
	if err := db.Exec("CREATE DATABASE d").Error; err != nil {
		panic(err)
	}
	db, err = gorm.Open(mysql.Open(at + "d"))
	if err != nil {
		panic(err)
	}
	var version string
	db.Raw("SELECT VERSION()").Scan(&version)
	fmt.Println("MariaDB", version)
	if err := db.AutoMigrate(&Message{}); err != nil {
		panic(err)
	}
	for id := 1; id <= 10; id++ {
		message := Message{ID: id, Sender: "ann", Day: 20 - id}
		if id%2 == 0 {
			message.Sender = "bob"
		}
		if err := db.Create(&message).Error; err != nil {
			panic(err)
		}
	}

	const ann = "sender = 'ann'"
	asStated := true
	for _, one := range []struct {
		name, stated string
		query        *gorm.DB
	}{
		{"without an order", "10 found, given [1 2 3 4 5 6 7 8 9 10], <nil>", db},
		{"Order", "10 found, given [10 9 10], <nil>", db.Order("day")},
		{"Where", "5 found, given [1 3 5 7 9], <nil>", db.Where(ann)},
		{"Where, Order", "5 found, given [9 7 9], <nil>", db.Where(ann).Order("day")},
	} {
		asStated = ids(one.name, one.query) == one.stated && asStated
	}
	if !asStated {
		os.Exit(1)
	}
}
GO
export GOPATH="$folder/go" GOFLAGS="-modcacherw -mod=mod"
go build -trimpath -o ../show . >../go.log 2>&1 || { cat ../go.log; exit 2; }
cd "$folder"
apt-get -o APT::Sandbox::User=root download -qq "mariadb-server-core=$version"
dpkg-deb -x mariadb-server-core_*.deb server
mkdir data
server/usr/sbin/mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" \
    --lc-messages-dir="$folder/server/usr/share/mysql" --socket="$folder/s" --skip-networking \
    --skip-grant-tables --pid-file="$folder/pid" >log 2>&1 &
server=$!
for _ in $(seq 100); do [ -S s ] && break; sleep 0.1; done
./show "$folder/s"
