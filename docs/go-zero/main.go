// Command gozero shows that a service made with go-zero and one of ours find each other through etcd.
//
// It registers a server with gRPC's health service under go.rpc, finds python.rpc, asks it for its health,
// prints "found python.rpc", and serves until its standard input ends.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/zeromicro/go-zero/core/discov"
	"github.com/zeromicro/go-zero/core/service"
	"github.com/zeromicro/go-zero/zrpc"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	etcd := flag.String("etcd", "127.0.0.1:2379", "host:port of etcd")
	listenOn := flag.String("listen", "127.0.0.1:8999", "where go.rpc listens")
	flag.Parse()
	hosts := []string{*etcd}

	server := zrpc.MustNewServer(zrpc.RpcServerConf{
		ServiceConf: service.ServiceConf{Name: "go.rpc", Mode: service.ProMode},
		ListenOn:    *listenOn,
		Etcd:        discov.EtcdConf{Hosts: hosts, Key: "go.rpc"},
		Timeout:     2000,
		Health:      true,
	}, func(*grpc.Server) {})
	go server.Start()
	defer server.Stop()

	client, err := zrpc.NewClient(zrpc.RpcClientConf{
		Etcd:     discov.EtcdConf{Hosts: hosts, Key: "python.rpc"},
		NonBlock: true,
		Timeout:  2000,
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	answer, err := healthpb.NewHealthClient(client.Conn()).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		log.Fatal(err)
	}
	if answer.Status != healthpb.HealthCheckResponse_SERVING {
		log.Fatalf("python.rpc is %s", answer.Status)
	}
	fmt.Println("found python.rpc")
	io.Copy(io.Discard, os.Stdin)
}
