package main

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "p2pshare.example/go/p2pv1"
)

const rescanEvery = 2 * time.Second

// sharer keeps a library listed.
type sharer struct {
	directory *Directory
	library   *Library
	source    *Source
	scanned   chan struct{} // closed once the library was read
	isReady   bool
	isDoomed  bool // nobody reaches us, and this was said
}

// share serves paths until the context ends.
func share(ctx context.Context, o *options, paths []string) error {
	library, err := newLibrary(paths)
	if err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(o.stateDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := lockFile(lock); err != nil {
		return failf(exitUsage, "USAGE", "another p2p-go shares with %s", o.stateDir)
	}
	peerID, err := loadPeerID(o.stateDir)
	if err != nil {
		return err
	}
	directory, err := o.directory(ctx, peerID)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		directory.conn.Close()
		return failf(exitRefused, "LISTEN_FAILED", "%v", err)
	}
	directory.listed = true
	directory.endpoints, directory.listenPort = candidates(listener.Addr().(*net.TCPAddr))

	source := newSource(library, directory.identity, peerID, directory.grantRules)
	server := source.server(directory.pin != nil)
	go server.Serve(listener)
	defer func() {
		source.stopping.Store(true)
		directory.Close()
		stop(server)
	}()
	if err := directory.Register(ctx); err != nil {
		return directory.directoryFailure(err)
	}

	s := &sharer{directory: directory, library: library, source: source, scanned: make(chan struct{})}
	go func() {
		library.Scan(ctx)
		close(s.scanned)
		wake(library.changed)
		library.Watch(ctx, rescanEvery)
	}()
	return s.stayListed(ctx)
}

// stop lets running streams end for a moment.
func stop(server *grpc.Server) {
	ended := time.AfterFunc(3*time.Second, server.Stop)
	defer ended.Stop()
	server.GracefulStop()
}

// candidates are the addresses at which a listener may be reached.
func candidates(at *net.TCPAddr) ([]*pb.Endpoint, int32) {
	port := int32(at.Port)
	if !at.IP.IsUnspecified() {
		return []*pb.Endpoint{{Host: at.IP.String(), Port: port}}, 0
	}
	var found []*pb.Endpoint
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || len(found) == 16 {
			continue
		}
		ip := prefix.Addr().Unmap()
		isOther := at.IP.To4() != nil && !ip.Is4() // listening on 0.0.0.0 only
		if ip.IsGlobalUnicast() && !isOther {
			found = append(found, &pb.Endpoint{Host: ip.String(), Port: port})
		}
	}
	return found, port
}

// stayListed beats and announces until the context ends or the directory refuses us for good.
func (s *sharer) stayListed(ctx context.Context) error {
	nextBeat, nextAnnounce := time.Now().Add(s.interval()), time.Now()
	beatFailures, announceFailures := 0, 0
	for {
		if now := time.Now(); !now.Before(nextBeat) {
			err := s.directory.Beat(ctx, &pb.HeartbeatRequest{Revision: s.library.Revision(), Load: s.source.Load()})
			if isFinal(err) {
				return s.directory.directoryFailure(err)
			}
			if nextBeat = now.Add(s.interval()); err != nil && ctx.Err() == nil {
				beatFailures++
				// A directory that comes back gives everybody one lease: be there within it.
				nextBeat = now.Add(min(backoff(beatFailures), s.lease()/3))
				say("heartbeat: %s", explain(err))
			} else {
				beatFailures = 0
			}
		}
		if now := time.Now(); s.differs() && !now.Before(nextAnnounce) {
			err := s.announce(ctx)
			if isFinal(err) {
				return s.directory.directoryFailure(err)
			}
			if nextAnnounce = now.Add(200 * time.Millisecond); err != nil && ctx.Err() == nil {
				announceFailures++
				nextAnnounce = now.Add(backoff(announceFailures))
				say("announce: %s", explain(err))
			} else {
				announceFailures = 0
			}
		}
		s.tell()

		wait := nextBeat
		if s.differs() && nextAnnounce.Before(wait) {
			wait = nextAnnounce
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.library.changed:
		case <-time.After(time.Until(wait)):
		}
	}
}

// interval is the one that the directory told, less up to a tenth.
func (s *sharer) interval() time.Duration {
	s.directory.mu.Lock()
	defer s.directory.mu.Unlock()
	return time.Duration(float64(s.directory.interval) * (1 - rand.Float64()/10))
}

func (s *sharer) lease() time.Duration {
	s.directory.mu.Lock()
	defer s.directory.mu.Unlock()
	return s.directory.lease
}

func backoff(failures int) time.Duration {
	longest := min(500*time.Millisecond<<min(failures, 5), 10*time.Second)
	return longest/2 + rand.N(longest/2)
}

// isFinal: registering again and again would not help.
func isFinal(err error) bool {
	if _, ok := err.(*failure); ok {
		return true
	}
	switch reasonOf(err) {
	case pb.ErrorReason_ERROR_REASON_USERNAME_TAKEN, pb.ErrorReason_ERROR_REASON_PEER_ID_TAKEN,
		pb.ErrorReason_ERROR_REASON_CERTIFICATE_INVALID, pb.ErrorReason_ERROR_REASON_PROOF_INVALID:
		return true
	}
	return false
}

func (s *sharer) held() (*pb.Revision, *pb.Limits) {
	s.directory.mu.Lock()
	defer s.directory.mu.Unlock()
	return s.directory.held, s.directory.limits
}

func (s *sharer) setHeld(revision *pb.Revision) {
	s.directory.mu.Lock()
	defer s.directory.mu.Unlock()
	s.directory.held = revision
}

func (s *sharer) differs() bool {
	held, _ := s.held()
	return !proto.Equal(held, s.library.Revision())
}

// announce brings the directory from the revision that it holds to ours.
func (s *sharer) announce(ctx context.Context) error {
	held, limits := s.held()
	var requests []*pb.AnnounceRequest
	if changes, ok := s.library.since(held); ok {
		requests = deltaRequests(held, changes, limits)
	} else {
		all, revision := s.library.snapshot()
		requests = snapshotRequests(all, revision, limits)
	}
	for _, request := range requests {
		answer, err := s.directory.Announce(ctx, request)
		if reasonOf(err) == pb.ErrorReason_ERROR_REASON_REVISION_MISMATCH {
			s.setHeld(nil) // a snapshot is due
		}
		if err != nil {
			return err
		}
		for _, item := range answer.GetRejectedItems() {
			say("not listed: %s: %s (%s)", printable(item.GetItem()), printable(item.GetMessage()), reasonName(item.GetReason()))
		}
		s.setHeld(answer.GetHeldRevision())
	}
	return nil
}

// tell says once that all is announced and reachable, or that nobody can reach us.
func (s *sharer) tell() {
	s.directory.mu.Lock()
	verdicts := s.directory.verdicts
	s.directory.mu.Unlock()
	endpoint, isPending, all := "", false, []string{}
	for _, v := range verdicts {
		address, _ := endpointAddress(v.GetEndpoint())
		switch v.GetVerdict() {
		case pb.EndpointVerdict_ENDPOINT_VERDICT_REACHABLE, pb.EndpointVerdict_ENDPOINT_VERDICT_LOCAL_ONLY:
			if endpoint == "" {
				endpoint = address
			}
		case pb.EndpointVerdict_ENDPOINT_VERDICT_PENDING:
			isPending = true
		}
		all = append(all, address+" "+strings.TrimPrefix(v.GetVerdict().String(), "ENDPOINT_VERDICT_"))
	}
	if endpoint == "" && !isPending && !s.isDoomed {
		s.isDoomed = true
		say("the directory cannot reach this peer, so nobody sees it: %s", strings.Join(all, ", "))
	}
	select {
	case <-s.scanned:
		if endpoint != "" && !s.isReady && !s.differs() {
			s.isReady = true
			emit(event{"event": "ready", "endpoint": endpoint, "resources": s.library.Len()})
		}
	default:
	}
}
