package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "p2pshare.example/go/p2pv1"
)

const (
	callTimeout    = 10 * time.Second
	clientSoftware = "p2p-go/1.0"
	// One try more or three does no harm: every call to the directory may be repeated.
	retryConfig = `{"methodConfig": [{"name": [{"service": "p2p.v1.DirectoryService"}], "retryPolicy": {
		"maxAttempts": 4, "initialBackoff": "0.2s", "maxBackoff": "2s", "backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE"]}}]}`
)

// Directory is our session with the directory. A call that finds the session gone registers again.
type Directory struct {
	pb.DirectoryServiceClient
	conn     *grpc.ClientConn
	server   string
	pin      *pin // nil without TLS
	identity *Identity
	user     string
	peerID   string
	// What a sharer registers besides; not changed once registered.
	listed     bool
	endpoints  []*pb.Endpoint
	listenPort int32

	registering sync.Mutex
	mu          sync.Mutex // over all below
	token       string
	directoryID string
	grantKey    *ecdsa.PublicKey
	limits      *pb.Limits
	toldTime    time.Time // the directory's clock …
	toldAt      time.Time // … when our monotonic one showed this
	held        *pb.Revision
	verdicts    []*pb.EndpointStatus
	lease       time.Duration
	interval    time.Duration
}

// openDirectory prepares a session; pin nil means plaintext. Nothing is sent yet.
func openDirectory(server, user, peerID string, identity *Identity, p *pin) (*Directory, error) {
	d := &Directory{server: server, user: user, peerID: peerID, identity: identity, pin: p}
	security := insecure.NewCredentials()
	if p != nil {
		security = credentials.NewTLS(p.config())
	}
	conn, err := grpc.NewClient("passthrough:///"+server,
		grpc.WithTransportCredentials(security),
		grpc.WithNoProxy(),
		grpc.WithDefaultServiceConfig(retryConfig),
		grpc.WithUnaryInterceptor(d.withSession))
	if err != nil {
		return nil, err
	}
	d.conn, d.DirectoryServiceClient = conn, pb.NewDirectoryServiceClient(conn)
	return d, nil
}

// withSession bounds every call, sends the token, and registers again where the session is gone.
func (d *Directory) withSession(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if method == pb.DirectoryService_GetDirectoryInfo_FullMethodName || method == pb.DirectoryService_Register_FullMethodName {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return d.orBrokenPin(invoke(ctx, method, request, reply, conn, options...))
	}
	for attempt := 0; ; attempt++ {
		token := d.currentToken()
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := invoke(metadata.AppendToOutgoingContext(call, "authorization", "Bearer "+token), method, request, reply, conn, options...)
		cancel()
		gone := reasonOf(err) == pb.ErrorReason_ERROR_REASON_SESSION_UNKNOWN
		if !gone || attempt > 0 || method == pb.DirectoryService_Leave_FullMethodName {
			return d.orBrokenPin(err)
		}
		if err := d.registerUnless(ctx, token); err != nil {
			return err
		}
	}
}

// orBrokenPin tells of a wrong key, which gRPC takes for an unreachable server.
func (d *Directory) orBrokenPin(err error) error {
	if d.pin != nil && status.Code(err) == codes.Unavailable {
		if f := d.pin.broken.Load(); f != nil {
			return f
		}
	}
	return err
}

func (d *Directory) currentToken() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.token
}

// registerUnless registers, unless somebody else has done so since the token was read.
func (d *Directory) registerUnless(ctx context.Context, stale string) error {
	d.registering.Lock()
	defer d.registering.Unlock()
	if d.currentToken() != stale {
		return nil
	}
	return d.register(ctx)
}

// Register opens the session.
func (d *Directory) Register(ctx context.Context) error {
	return d.registerUnless(ctx, d.currentToken())
}

func (d *Directory) register(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		info, err := d.GetDirectoryInfo(ctx, &pb.GetDirectoryInfoRequest{})
		if err != nil {
			return err
		}
		directory, err := d.verifyDirectory(info)
		if err != nil {
			return err
		}
		proof, err := d.identity.Sign(registerBytes(directory, info.GetChallenge(), d.user, d.peerID, d.identity.Certificate))
		if err != nil {
			return err
		}
		answer, err := d.DirectoryServiceClient.Register(ctx, &pb.RegisterRequest{
			User: d.user, CertificateDer: d.identity.Certificate, PeerId: d.peerID,
			Challenge: info.GetChallenge(), Proof: proof, Listed: d.listed, Endpoints: d.endpoints,
			ListenPort: d.listenPort, ClientSoftware: clientSoftware,
		})
		if reasonOf(err) == pb.ErrorReason_ERROR_REASON_CHALLENGE_INVALID && attempt < 2 {
			continue // a repeated Register whose first answer was lost has used it up
		}
		if err != nil {
			return err
		}
		return d.begin(info, answer)
	}
}

// verifyDirectory gives the 32 bytes that stand for the directory in the proof.
func (d *Directory) verifyDirectory(info *pb.GetDirectoryInfoResponse) ([32]byte, error) {
	id, err := hex.DecodeString(info.GetDirectoryId())
	if err != nil || len(id) != 32 {
		return [32]byte{}, failf(exitDirectory, "DIRECTORY_UNTRUSTED", "the directory %s tells no directory_id", d.server)
	}
	wanted := pb.TransportSecurity_TRANSPORT_SECURITY_INSECURE
	if d.pin != nil {
		wanted = pb.TransportSecurity_TRANSPORT_SECURITY_TLS
		if [32]byte(id) != d.pin.want {
			return [32]byte{}, failf(exitDirectory, "DIRECTORY_UNTRUSTED", "the directory %s tells another key than it shows", d.server)
		}
	}
	if info.GetTransportSecurity() != wanted {
		return [32]byte{}, failf(exitDirectory, "DIRECTORY_UNTRUSTED", "the network of %s is %s, not %s", d.server, info.GetTransportSecurity(), wanted)
	}
	return [32]byte(id), nil
}

// begin takes over a new session.
func (d *Directory) begin(info *pb.GetDirectoryInfoResponse, answer *pb.RegisterResponse) error {
	public, err := x509.ParsePKIXPublicKey(answer.GetGrantKeyDer())
	if err != nil {
		return fmt.Errorf("the directory's grant key: %w", err)
	}
	key, ok := public.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return fmt.Errorf("the directory's grant key is not on P-256")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.token, d.directoryID, d.grantKey, d.limits = answer.GetSessionToken(), info.GetDirectoryId(), key, info.GetLimits()
	d.renewed(answer.GetLeaseDuration(), answer.GetHeartbeatInterval(), answer.GetDirectoryTime(), answer.GetHeldRevision(), answer.GetEndpointStatuses())
	return nil
}

// Beat sends a heartbeat and takes over what it tells.
func (d *Directory) Beat(ctx context.Context, request *pb.HeartbeatRequest) error {
	answer, err := d.Heartbeat(ctx, request)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.renewed(answer.GetLeaseDuration(), answer.GetHeartbeatInterval(), answer.GetDirectoryTime(), answer.GetHeldRevision(), answer.GetEndpointStatuses())
	return nil
}

func (d *Directory) renewed(lease, interval *durationpb.Duration, now *timestamppb.Timestamp, held *pb.Revision, verdicts []*pb.EndpointStatus) {
	d.lease = min(max(lease.AsDuration(), time.Second), 24*time.Hour)
	d.interval = min(max(interval.AsDuration(), 200*time.Millisecond), d.lease)
	if now != nil {
		d.toldTime, d.toldAt = now.AsTime(), time.Now()
	}
	d.held, d.verdicts = held, verdicts
}

// grantRules is what a source judges grants by now.
func (d *Directory) grantRules() grantRules {
	d.mu.Lock()
	defer d.mu.Unlock()
	return grantRules{d.grantKey, d.directoryID, d.peerID, d.toldTime.Add(time.Since(d.toldAt))}
}

// Close leaves and hangs up; the directory need not answer.
func (d *Directory) Close() {
	if token := d.currentToken(); token != "" {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_, err := d.Leave(ctx, &pb.LeaveRequest{})
		if err != nil && reasonOf(err) != pb.ErrorReason_ERROR_REASON_SESSION_UNKNOWN {
			say("leaving the directory: %s", explain(err))
		}
	}
	d.conn.Close()
}

// directoryFailure is an error of the directory as the end of the program.
func (d *Directory) directoryFailure(err error) error {
	if _, ok := err.(*failure); ok || err == nil {
		return err
	}
	switch code := status.Code(err); {
	case code == codes.Unavailable || code == codes.DeadlineExceeded:
		return failf(exitDirectory, "DIRECTORY_UNREACHABLE", "the directory %s does not answer: %s", d.server, explain(err))
	case reasonOf(err) != 0:
		return failf(exitDirectory, reasonName(reasonOf(err)), "the directory %s refused: %s", d.server, explain(err))
	}
	return err
}
