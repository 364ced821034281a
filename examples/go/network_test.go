package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "p2pshare.example/go/p2pv1"
)

// The tests here speak real gRPC with a directory and sources made for them, in plaintext.

var directoryKey, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)

// fakeDirectory locates what it is told to.
type fakeDirectory struct {
	pb.UnimplementedDirectoryServiceServer
	answer *pb.LocateResponse
}

func (*fakeDirectory) GetDirectoryInfo(context.Context, *pb.GetDirectoryInfoRequest) (*pb.GetDirectoryInfoResponse, error) {
	return &pb.GetDirectoryInfoResponse{DirectoryId: strings.Repeat("ab", 32), TransportSecurity: pb.TransportSecurity_TRANSPORT_SECURITY_INSECURE}, nil
}

func (*fakeDirectory) Register(context.Context, *pb.RegisterRequest) (*pb.RegisterResponse, error) {
	key, err := x509.MarshalPKIXPublicKey(&directoryKey.PublicKey)
	return &pb.RegisterResponse{SessionToken: "t", LeaseDuration: durationpb.New(time.Minute), DirectoryTime: timestamppb.Now(), GrantKeyDer: key}, err
}

func (d *fakeDirectory) Locate(context.Context, *pb.LocateRequest) (*pb.LocateResponse, error) {
	return d.answer, nil
}

// liar is a source that turns a bit in what it sends, or serves the manifest it is told to.
type liar struct {
	pb.PeerServiceServer
	turns    bool
	manifest *pb.Manifest
	asked    int
}

func (l *liar) GetManifest(ctx context.Context, request *pb.GetManifestRequest) (*pb.GetManifestResponse, error) {
	if l.manifest != nil {
		return &pb.GetManifestResponse{Manifest: l.manifest}, nil
	}
	return l.PeerServiceServer.GetManifest(ctx, request)
}

func (l *liar) FetchFile(request *pb.FetchFileRequest, to grpc.ServerStreamingServer[pb.FetchFileResponse]) error {
	l.asked++
	return l.PeerServiceServer.FetchFile(request, turning{to, l.turns})
}

type turning struct {
	grpc.ServerStreamingServer[pb.FetchFileResponse]
	turns bool
}

func (t turning) Send(chunk *pb.FetchFileResponse) error {
	if t.turns {
		chunk.Data[0] ^= 1
	}
	return t.ServerStreamingServer.Send(chunk)
}

func serve(t *testing.T, server *grpc.Server) *pb.Endpoint {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return &pb.Endpoint{Host: "127.0.0.1", Port: int32(listener.Addr().(*net.TCPAddr).Port)}
}

// network is a directory, our session with it, and a file shared by as many sources as wanted.
type network struct {
	*testing.T
	fake      *fakeDirectory
	directory *Directory
	library   *Library
	file      *sharedFile
	disk      string
}

func newNetwork(t *testing.T, content []byte) *network {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(disk, content, 0o600); err != nil {
		t.Fatal(err)
	}
	library, err := newLibrary([]string{disk})
	if err != nil {
		t.Fatal(err)
	}
	library.Scan(t.Context())
	fake, server := &fakeDirectory{answer: &pb.LocateResponse{}}, grpc.NewServer()
	pb.RegisterDirectoryServiceServer(server, fake)
	at, _ := endpointAddress(serve(t, server))
	identity, err := loadIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	directory, err := openDirectory(at, "ann", randomID(), identity, nil)
	if err == nil {
		err = directory.Register(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { directory.conn.Close() })
	return &network{t, fake, directory, library, library.files["f"], disk}
}

// add lists one more source under a manifest digest; it is the real one, wrapped.
func (n *network) add(peerID, manifestDigest string, wrap func(*Source) pb.PeerServiceServer) {
	n.Helper()
	rules := func() grantRules {
		r := n.directory.grantRules()
		r.peerID = peerID
		return r
	}
	server := grpc.NewServer()
	pb.RegisterPeerServiceServer(server, wrap(newSource(n.library, n.directory.identity, peerID, rules)))
	digest := n.file.resource.GetDigest()
	grant, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": strings.Repeat("ab", 32), "aud": peerID, "sub": "ann",
		"iat": time.Now().Unix(), "exp": time.Now().Unix() + 60, "digests": []string{digest}}).SignedString(directoryKey)
	if err != nil {
		n.Fatal(err)
	}
	n.fake.answer.Holdings = append(n.fake.answer.Holdings, &pb.Holding{Digest: digest, PeerId: peerID, ManifestDigest: manifestDigest, SizeBytes: n.file.manifest.Size})
	n.fake.answer.Sources = append(n.fake.answer.Sources, &pb.Source{PeerId: peerID, User: peerID, Endpoints: []*pb.Endpoint{serve(n.T, server)}, Grant: grant})
}

func honest(s *Source) pb.PeerServiceServer { return s }

// download gives the bytes that were fetched and the download.
func (n *network) download() ([]byte, *Download, error) {
	n.Helper()
	part, err := newPartFile(filepath.Join(n.TempDir(), "x"), false)
	if err != nil {
		n.Fatal(err)
	}
	defer part.Discard()
	d := newDownload(n.directory, n.file.resource.GetDigest(), part)
	if err := d.Run(n.Context()); err != nil {
		return nil, d, err
	}
	if err := part.Commit(false); err != nil {
		n.Fatal(err)
	}
	content, err := os.ReadFile(part.target)
	return content, d, err
}

func someBytes(size int) []byte {
	content := make([]byte, size)
	rand.Read(content)
	return content
}

func TestSourceOfAWrongPieceIsNotAskedAgain(t *testing.T) {
	content := someBytes(5<<20 + 1)
	n := newNetwork(t, content)
	bad := &liar{turns: true}
	right := n.file.resource.GetManifestDigest()
	n.add("bad-bad-bad-bad-1", right, func(s *Source) pb.PeerServiceServer { bad.PeerServiceServer = s; return bad })
	n.add("good-good-good-01", right, honest)

	got, d, err := n.download()

	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if s := d.Sources(); len(s) != 1 || s[0] != "good-good-good-01" || bad.asked > 1 {
		t.Errorf("sources %v, the bad one asked %d times", s, bad.asked)
	}
}

func TestGroupOfAWrongManifestIsDropped(t *testing.T) {
	content := someBytes(3 << 20)
	n := newNetwork(t, content)
	for _, id := range []string{"liar-liar-liar-01", "liar-liar-liar-02"} {
		n.add(id, n.wrongManifest().Digest(), func(s *Source) pb.PeerServiceServer {
			return &liar{PeerServiceServer: s, turns: true, manifest: n.wrongManifest().toWire()}
		})
	}
	n.add("good-good-good-01", n.file.resource.GetManifestDigest(), honest)

	got, d, err := n.download()

	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if !d.wrong[n.wrongManifest().Digest()] {
		t.Errorf("the wrong group is not dropped")
	}
}

// wrongManifest fits the content with the first bit of each chunk turned.
func (n *network) wrongManifest() *Manifest {
	content, _ := os.ReadFile(n.disk)
	for i := 0; i < len(content); i += maxChunk {
		content[i] ^= 1
	}
	_, m, _ := hashContent(bytes.NewReader(content), int64(len(content)))
	return m
}

func TestManifestOtherThanAnnouncedIsRefused(t *testing.T) {
	n := newNetwork(t, someBytes(100))
	n.add("liar-liar-liar-01", n.file.resource.GetManifestDigest(), func(s *Source) pb.PeerServiceServer {
		return &liar{PeerServiceServer: s, manifest: n.wrongManifest().toWire()}
	})

	_, d, err := n.download()

	var f *failure
	if !errors.As(err, &f) || f.exit != exitTransfer || len(d.banned) != 1 {
		t.Errorf("%v, banned %v", err, d.banned)
	}
}

// open calls FetchFile of one honest source.
func (n *network) open(idle time.Duration) grpc.ServerStreamingClient[pb.FetchFileResponse] {
	n.Helper()
	n.add("good-good-good-01", n.file.resource.GetManifestDigest(), func(s *Source) pb.PeerServiceServer { s.idle = idle; return s })
	d := newDownload(n.directory, n.file.resource.GetDigest(), nil)
	// A window of its own, since otherwise the whole content may be under way at once.
	at, _ := endpointAddress(n.fake.answer.Sources[0].GetEndpoints()[0])
	conn, err := grpc.NewClient("passthrough:///"+at, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStaticStreamWindowSize(64<<10))
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { conn.Close() })
	f := &fetcher{pb.NewPeerServiceClient(conn), d, conn, source{n.fake.answer.Sources[0], ""}}
	stream, err := f.FetchFile(f.withGrant(n.Context()), &pb.FetchFileRequest{Digest: d.digest})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		n.Fatal(err)
	}
	return stream
}

func drain(stream grpc.ServerStreamingClient[pb.FetchFileResponse]) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

func TestFileThatChangesWhileItIsSentIsCutOff(t *testing.T) {
	n := newNetwork(t, someBytes(16<<20))
	stream := n.open(idleTimeout)
	file, err := os.OpenFile(n.disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	file.WriteAt([]byte("changed"), 12<<20)

	err = drain(stream)

	if reasonOf(err) != pb.ErrorReason_ERROR_REASON_CONTENT_CHANGED {
		t.Errorf("got %v", err)
	}
}

func TestReaderThatTakesNothingIsDropped(t *testing.T) {
	n := newNetwork(t, someBytes(16<<20))
	stream := n.open(100 * time.Millisecond)
	time.Sleep(300 * time.Millisecond)

	err := drain(stream)

	if reasonOf(err) != pb.ErrorReason_ERROR_REASON_STREAM_IDLE {
		t.Errorf("got %v", err)
	}
}
