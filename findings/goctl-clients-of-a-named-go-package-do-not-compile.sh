#!/usr/bin/env bash
# goctl 1.10.1 (go-zero): its client for a proto whose `go_package` names the package does not compile.
#
# `option go_package = "path;name"` is protoc-gen-go's own form for a package that is not called as the
# last part of its path. goctl takes it without a word and prints "Done.", but with --multiple (which a
# proto with two services needs) its client imports the path without a name and uses the package as
# `part_name`, made of the path's last part and the name: undefined. Without ";name" it compiles.
#
# Seen: with "example.test/shop/v1;shopv1": undefined: v1_shopv1; with "example.test/shop/v1": compiles.
# Exits 1 when that is no longer so. Needs Go 1.24 or newer; the first build takes some minutes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOPATH="$folder/go" GOFLAGS="-modcacherw -mod=mod" PATH="$folder/bin:$PATH"
mkdir "$folder/bin"
goctl="github.com/zeromicro/go-zero/tools/goctl@v1.10.1"
cd "$folder"
go mod download "$goctl"
cp -r "$GOPATH/pkg/mod/$goctl" "$folder/goctl"
(cd "$folder/goctl" && go build -o "$folder/bin/goctl" .)
for tool in google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11 \
  google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.0; do
  GOBIN="$folder/bin" go install "$tool"
done
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q grpcio-tools==1.85.1
cat >"$folder/bin/protoc" <<SH
#!/usr/bin/env bash
if [ "\$1" = --version ]; then echo "libprotoc 31.1"; exit; fi
exec "$folder/venv/bin/python" -m grpc_tools.protoc "\$@"
SH
chmod +x "$folder/bin/protoc"

build() {
  mkdir "$folder/$1" && cd "$folder/$1"
  cat >shop.proto <<PROTO
syntax = "proto3";
package shop.v1;
option go_package = "$2";
message Request {}
message Response {}
service Orders { rpc Place(Request) returns (Response); }
service Stock { rpc Count(Request) returns (Response); }
PROTO
  cat >go.mod <<'MOD'
module example.test

go 1.24

require github.com/zeromicro/go-zero v1.10.3
MOD
  goctl rpc protoc -I . shop.proto --multiple --client=true --go_out=. --go-grpc_out=. --zrpc_out=. \
    --go_opt=module=example.test --go-grpc_opt=module=example.test >/dev/null
  # Of what it made only the clients are of interest.
  rm -rf internal etc ./*.go
  go mod tidy >/dev/null 2>&1
  go build ./... 2>&1 || true
}

named=$(build named "example.test/shop/v1;shopv1")
plain=$(build plain "example.test/shop/v1")
echo "with a name: ${named:-compiles}"
echo "without one: ${plain:-compiles}"
grep -q "undefined: v1_shopv1" <<<"$named" && [ -z "$plain" ]
