package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	pb "p2pshare.example/go/p2pv1"
)

const (
	minChunk     = 16 << 10
	maxChunk     = 1 << 20
	maxUploads   = 32
	idleTimeout  = 60 * time.Second
	writeBuffer  = 512 << 10
	maxGrantSize = 64 << 10
)

// Source serves the contents of a library to holders of a grant.
type Source struct {
	pb.UnimplementedPeerServiceServer
	library  *Library
	identity *Identity
	peerID   string
	rules    func() grantRules
	slots    chan struct{} // one taken by each stream
	stopping atomic.Bool
	idle     time.Duration // for which a reader may take nothing
}

func newSource(library *Library, identity *Identity, peerID string, rules func() grantRules) *Source {
	return &Source{library: library, identity: identity, peerID: peerID, rules: rules, slots: make(chan struct{}, maxUploads), idle: idleTimeout}
}

// server hosts the source, over TLS or in plaintext.
func (s *Source) server(withTLS bool) *grpc.Server {
	security := insecure.NewCredentials()
	if withTLS {
		certificate := s.identity.TLS()
		security = credentials.NewServerTLSFromCert(&certificate)
	}
	server := grpc.NewServer(grpc.Creds(security), grpc.WriteBufferSize(writeBuffer),
		grpc.MaxRecvMsgSize(64<<10), grpc.MaxHeaderListSize(maxGrantSize), grpc.MaxConcurrentStreams(256),
		// By default a client that pings more often than every five minutes is cut off.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}))
	pb.RegisterPeerServiceServer(server, s)
	return server
}

// Load tells how busy the source is.
func (s *Source) Load() *pb.PeerLoad {
	return &pb.PeerLoad{ActiveUploads: int32(len(s.slots)), MaxUploads: maxUploads}
}

// admit checks the grant and gives the files with the content that it is for.
func (s *Source) admit(ctx context.Context, digest string) ([]*sharedFile, error) {
	if s.stopping.Load() {
		return nil, refuse(codes.Unavailable, pb.ErrorReason_ERROR_REASON_SHUTTING_DOWN, "this peer is stopping")
	}
	sent := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(sent) == 0 {
		return nil, refuse(codes.Unauthenticated, pb.ErrorReason_ERROR_REASON_GRANT_MISSING, "no grant: Locate gives one")
	}
	scheme, token, _ := strings.Cut(sent[0], " ")
	if len(sent) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return nil, refuse(codes.Unauthenticated, pb.ErrorReason_ERROR_REASON_GRANT_INVALID, "one Bearer grant is wanted")
	}
	grant, err := s.rules().check(token)
	if err != nil {
		return nil, err
	}
	if !digestPattern.MatchString(digest) {
		return nil, refuse(codes.InvalidArgument, pb.ErrorReason_ERROR_REASON_FIELD_INVALID, "a digest is 64 lower-case hex", "field", "digest")
	}
	if !grant.covers(digest) {
		return nil, refuse(codes.PermissionDenied, pb.ErrorReason_ERROR_REASON_GRANT_MISMATCH, "the grant is for other contents")
	}
	files := s.library.Content(digest)
	if len(files) == 0 {
		return nil, refuse(codes.NotFound, pb.ErrorReason_ERROR_REASON_CONTENT_UNKNOWN, "this content is not shared here")
	}
	return files, nil
}

// openAny opens the first file that still has the content.
func (s *Source) openAny(files []*sharedFile) (*sharedFile, *os.File, error) {
	var failed error
	for _, f := range files {
		file, err := f.open()
		if err == nil {
			return f, file, nil
		}
		failed = s.readFailure(err)
	}
	return nil, nil, failed
}

func (s *Source) readFailure(err error) error {
	wake(s.library.rescan)
	if errors.Is(err, errChanged) || errors.Is(err, io.EOF) {
		return refuse(codes.Aborted, pb.ErrorReason_ERROR_REASON_CONTENT_CHANGED, "the file changed")
	}
	return refuse(codes.Unavailable, pb.ErrorReason_ERROR_REASON_CONTENT_UNREADABLE, "the file cannot be read now")
}

// GetManifest answers the manifest of one content.
func (s *Source) GetManifest(ctx context.Context, request *pb.GetManifestRequest) (*pb.GetManifestResponse, error) {
	files, err := s.admit(ctx, request.GetDigest())
	if err != nil {
		return nil, err
	}
	shared, file, err := s.openAny(files)
	if err != nil {
		return nil, err
	}
	file.Close()
	return &pb.GetManifestResponse{Manifest: shared.manifest.toWire()}, nil
}

// FetchFile streams a range of one content.
func (s *Source) FetchFile(request *pb.FetchFileRequest, stream grpc.ServerStreamingServer[pb.FetchFileResponse]) error {
	files, err := s.admit(stream.Context(), request.GetDigest())
	if err != nil {
		return err
	}
	offset, limit, size := request.GetReadOffset(), request.GetReadLimit(), files[0].manifest.Size
	if offset < 0 || limit < 0 || offset > size {
		return refuse(codes.OutOfRange, pb.ErrorReason_ERROR_REASON_RANGE_INVALID, "the range does not fit the content",
			"size_bytes", strconv.FormatInt(size, 10))
	}
	end := size
	if limit > 0 && limit < size-offset {
		end = offset + limit
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return refuse(codes.ResourceExhausted, pb.ErrorReason_ERROR_REASON_TOO_MANY_STREAMS, "all streams are taken")
	}
	shared, file, err := s.openAny(files)
	if err != nil {
		return err
	}
	return s.stream(shared, file, offset, end, chunkSize(request.GetMaxChunkBytes()), stream)
}

func chunkSize(wish int32) int64 {
	if wish <= 0 {
		return maxChunk
	}
	return min(max(int64(wish), minChunk), maxChunk)
}

// stream sends and closes the file; it gives up on a reader that takes nothing.
func (s *Source) stream(shared *sharedFile, file *os.File, offset, end, chunk int64, to grpc.ServerStreamingServer[pb.FetchFileResponse]) error {
	sent, done := make(chan struct{}, 1), make(chan error, 1)
	go func() { // ends with the handler at the latest: Send fails then
		defer file.Close()
		for ; offset < end; offset += chunk {
			data := make([]byte, min(chunk, end-offset))
			if _, err := file.ReadAt(data, offset); err != nil {
				done <- s.readFailure(err)
				return
			}
			if err := shared.unchanged(file); err != nil {
				done <- s.readFailure(err)
				return
			}
			if err := to.Send(&pb.FetchFileResponse{Data: data}); err != nil {
				done <- err
				return
			}
			wake(sent)
		}
		done <- nil
	}()
	idle := time.NewTimer(s.idle)
	defer idle.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-sent:
			idle.Reset(s.idle)
		case <-idle.C:
			return refuse(codes.DeadlineExceeded, pb.ErrorReason_ERROR_REASON_STREAM_IDLE, "the reader took nothing for too long")
		}
	}
}

// ProveIdentity signs a nonce, for a directory without TLS.
func (s *Source) ProveIdentity(_ context.Context, request *pb.ProveIdentityRequest) (*pb.ProveIdentityResponse, error) {
	if n := len(request.GetNonce()); n < 16 || n > 64 {
		return nil, refuse(codes.InvalidArgument, pb.ErrorReason_ERROR_REASON_FIELD_INVALID, "a nonce has 16 to 64 bytes", "field", "nonce")
	}
	signature, err := s.identity.Sign(proveIdentityBytes(request.GetNonce(), s.peerID))
	if err != nil {
		return nil, refuse(codes.Internal, pb.ErrorReason_ERROR_REASON_INTERNAL, "signing failed")
	}
	return &pb.ProveIdentityResponse{Signature: signature}, nil
}
