package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	pb "p2pshare.example/go/p2pv1"
)

const (
	chunkTimeout   = 20 * time.Second // without a chunk, not for the whole stream
	longestWait    = 30 * time.Minute // in the queue of a source without a byte
	fruitlessTries = 4
	sourcesAtOnce  = 8
	streamWindow   = 4 << 20
)

// misbehaved is what a source did that no honest one does: it is not asked again in its group.
type misbehaved struct{ what string }

func (m misbehaved) Error() string { return m.what }

// local is a failure of our own disk, which no other source mends.
type local struct{ error }

// source is a peer that has the content under one manifest.
type source struct {
	*pb.Source
	manifestDigest string
}

// group is the sources of one manifest: pieces of one download come from one group.
type group struct {
	manifestDigest string
	sources        []source
}

// Download fetches one content into a part file.
type Download struct {
	directory *Directory
	digest    string
	part      *PartFile

	group    string          // whose pieces the part file holds
	manifest *Manifest       // of that group, nil until known
	todo     *pieces         // of that manifest
	wrong    map[string]bool // groups whose whole was not the content
	banned   map[string]bool // group + peer_id
	failures map[string]int  // fruitless tries of a group

	fetched atomic.Int64
	mu      sync.Mutex
	helped  map[string]bool // users that gave verified pieces
}

func newDownload(directory *Directory, digest string, part *PartFile) *Download {
	return &Download{directory: directory, digest: digest, part: part,
		wrong: map[string]bool{}, banned: map[string]bool{}, failures: map[string]int{}, helped: map[string]bool{}}
}

// Run ends when the part file has the content, or with why it cannot be had.
func (d *Download) Run(ctx context.Context) error {
	for fruitless := 0; fruitless < fruitlessTries; {
		if fruitless > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(backoff(fruitless)):
			}
		}
		groups, refused, err := d.locate(ctx)
		if err != nil {
			return d.directory.directoryFailure(err)
		}
		if len(groups) == 0 && refused {
			break // all that is left has lied to us
		}
		if len(groups) == 0 {
			fruitless++
			continue
		}
		complete, gained, err := d.fetchFrom(ctx, groups[0])
		if err != nil {
			return err
		}
		switch {
		case complete:
			ok, err := d.part.Has(d.digest, d.manifest.Size)
			if ok || err != nil {
				return err
			}
			say("what group %.8s… gave is not the content asked for", d.group)
			d.wrong[d.group] = true
			fruitless = 0
		case gained:
			fruitless = 0
		default:
			d.failures[groups[0].manifestDigest]++
			fruitless++
		}
	}
	return failf(exitTransfer, "NO_SOURCE", "no source could give b3:%s", d.digest)
}

// locate finds the groups to try, the best first, and whether there are others, which are not worth it.
func (d *Download) locate(ctx context.Context) (groups []group, refused bool, err error) {
	found, token := map[string][]source{}, ""
	for {
		page, err := d.directory.Locate(ctx, &pb.LocateRequest{Digests: []string{d.digest}, PageToken: token})
		if err != nil {
			return nil, false, err
		}
		peers := map[string]*pb.Source{}
		for _, s := range page.GetSources() {
			peers[s.GetPeerId()] = s
		}
		for _, h := range page.GetHoldings() {
			manifest, peer := h.GetManifestDigest(), peers[h.GetPeerId()]
			if peer == nil || h.GetDigest() != d.digest || h.GetPartial() || !digestPattern.MatchString(manifest) ||
				len(endpointAddresses(peer.GetEndpoints())) == 0 {
				continue
			}
			if d.wrong[manifest] || d.banned[manifest+peer.GetPeerId()] {
				refused = true
				continue
			}
			found[manifest] = append(found[manifest], source{peer, manifest})
		}
		next := page.GetNextPageToken()
		if next == "" || next == token {
			break
		}
		token = next
	}
	for manifest, sources := range found {
		groups = append(groups, group{manifest, sources[:min(len(sources), sourcesAtOnce)]})
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(
			cmp.Compare(d.failures[a.manifestDigest], d.failures[b.manifestDigest]),
			-cmp.Compare(len(a.sources), len(b.sources)),
			cmp.Compare(a.manifestDigest, b.manifestDigest))
	})
	return groups, refused, nil
}

// fetchFrom asks all sources of a group at once until each has failed or nothing is left to ask for.
// It tells whether all pieces are here, and whether there are more than before.
func (d *Download) fetchFrom(ctx context.Context, g group) (complete, gained bool, err error) {
	if d.group != g.manifestDigest {
		d.group, d.manifest, d.todo = g.manifestDigest, nil, nil
		if err := d.part.Reset(); err != nil {
			return false, false, localFailure(err)
		}
	}
	var connections []*fetcher
	for _, s := range g.sources {
		f, err := d.connect(s)
		if err != nil {
			d.note(s, err)
			continue
		}
		defer f.conn.Close()
		connections = append(connections, f)
	}
	for _, f := range connections {
		if d.manifest != nil {
			break
		}
		if d.manifest, err = f.getManifest(ctx); err != nil {
			d.note(f.source, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return false, false, err
	}
	if d.manifest == nil {
		return false, false, nil
	}
	if d.todo == nil {
		d.todo, gained = newPieces(d.manifest.Count()), true
	}
	before := d.todo.left()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	for _, f := range connections {
		workers.Add(1)
		go func() {
			defer workers.Done()
			err := f.work(ctx, len(connections))
			var disk local
			if errors.As(err, &disk) {
				cancel(localFailure(disk.error))
			} else if err != nil && ctx.Err() == nil {
				d.note(f.source, err)
			}
		}()
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return false, false, err
	}
	left := d.todo.left()
	return left == 0, gained || left < before, nil
}

// note says why a source failed, and bans it where it deserves that.
func (d *Download) note(s source, err error) {
	var m misbehaved
	isBanned := errors.As(err, &m)
	if isBanned {
		d.mu.Lock()
		d.banned[s.manifestDigest+s.GetPeerId()] = true
		d.mu.Unlock()
	}
	user := printable(s.GetUser())
	say("source %s failed: %s", user, explain(err))
	emit(event{"event": "source_failed", "owner": user, "message": explain(err), "banned": isBanned})
}

// fetcher is a connection to one source.
type fetcher struct {
	pb.PeerServiceClient
	*Download
	conn   *grpc.ClientConn
	source source
}

// connect races the endpoints of a source; only the certificate that the directory lists is good.
func (d *Download) connect(s source) (*fetcher, error) {
	security := insecure.NewCredentials()
	if d.directory.pin != nil {
		config, err := sourceTLS(s.GetCertificateDer())
		if err != nil {
			return nil, fmt.Errorf("its certificate: %w", err)
		}
		security = credentials.NewTLS(config)
	}
	var addresses []resolver.Endpoint
	for _, address := range endpointAddresses(s.GetEndpoints()) {
		addresses = append(addresses, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	endpoints := manual.NewBuilderWithScheme("source")
	endpoints.InitialState(resolver.State{Endpoints: addresses})
	conn, err := grpc.NewClient("source:///"+s.GetPeerId(),
		grpc.WithResolvers(endpoints), grpc.WithTransportCredentials(security), grpc.WithNoProxy(),
		grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(2*streamWindow), grpc.WithReadBufferSize(256<<10))
	if err != nil {
		return nil, err
	}
	return &fetcher{pb.NewPeerServiceClient(conn), d, conn, s}, nil
}

func (f *fetcher) withGrant(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+f.source.GetGrant())
}

func (f *fetcher) getManifest(ctx context.Context) (*Manifest, error) {
	ctx, cancel := context.WithTimeout(f.withGrant(ctx), chunkTimeout)
	defer cancel()
	answer, err := f.GetManifest(ctx, &pb.GetManifestRequest{Digest: f.digest})
	if err != nil {
		return nil, err
	}
	manifest, err := manifestFromWire(answer.GetManifest())
	if err != nil {
		return nil, misbehaved{err.Error()}
	}
	if manifest.Digest() != f.source.manifestDigest {
		return nil, misbehaved{"its manifest is another than it announced"}
	}
	return manifest, nil
}

// work takes runs of pieces until there are none.
func (f *fetcher) work(ctx context.Context, sources int) error {
	buffer := make([]byte, min(f.manifest.PieceSize, f.manifest.Size))
	for {
		first, end := f.todo.take(sources)
		if first == end {
			return nil
		}
		next, err := f.fetch(ctx, first, end, sources == 1, buffer)
		f.todo.done(first, next, end)
		if next > first {
			f.mu.Lock()
			f.helped[f.source.GetUser()] = true
			f.mu.Unlock()
		}
		if err != nil {
			return err
		}
	}
}

// fetch asks for pieces first to end and gives the first that it did not get. Where the source has no
// slot free it queues, or fails for others to take the pieces. A place in the queue is a sign of life.
func (f *fetcher) fetch(ctx context.Context, first, end int, queues bool, buffer []byte) (int, error) {
	ctx, cancel := context.WithCancel(f.withGrant(ctx))
	defer cancel()
	idle := time.AfterFunc(chunkTimeout, cancel)
	defer idle.Stop()

	offset, _ := f.manifest.Span(first)
	lastOffset, lastLength := f.manifest.Span(end - 1)
	stream, err := f.FetchFile(ctx, &pb.FetchFileRequest{Digest: f.digest, ReadOffset: offset,
		ReadLimit: lastOffset + lastLength - offset, MaxChunkBytes: maxChunk, WaitInQueue: queues})
	if err != nil {
		return first, err
	}
	piece, filled, queued := first, 0, time.Now()
	for {
		chunk, err := stream.Recv()
		switch {
		case err == io.EOF && piece < end:
			return piece, misbehaved{"its content ended early"}
		case err == io.EOF:
			return end, nil
		case status.Code(err) == codes.Canceled && !idle.Stop():
			return piece, fmt.Errorf("no data for %s", chunkTimeout)
		case err != nil:
			return piece, err
		}
		if chunk.GetQueue() == nil {
			queued = time.Now()
		} else if time.Since(queued) > longestWait {
			return piece, errors.New("it only ever lets us wait")
		}
		idle.Reset(chunkTimeout)
		f.fetched.Add(int64(len(chunk.GetData())))
		for data := chunk.GetData(); len(data) > 0; {
			if piece == end {
				return piece, misbehaved{"it sent more than was asked for"}
			}
			offset, length := f.manifest.Span(piece)
			n := copy(buffer[filled:length], data)
			data, filled = data[n:], filled+n
			if int64(filled) < length {
				continue
			}
			if !f.manifest.Verifies(piece, buffer[:length]) {
				return piece, misbehaved{fmt.Sprintf("its piece %d was wrong", piece)}
			}
			if _, err := f.part.WriteAt(buffer[:length], offset); err != nil {
				return piece, local{err}
			}
			piece, filled = piece+1, 0
		}
	}
}

// Sources are the users that gave pieces; for an empty content nobody had to.
func (d *Download) Sources() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string{}, slices.Sorted(maps.Keys(d.helped))...) // never null in JSON
}

// pieces hands out what is still missing, as runs.
type pieces struct {
	mu      sync.Mutex
	missing []pieceRun // neither here nor asked for
	absent  int        // not here
}

type pieceRun struct{ first, end int }

const longestRun = 64 // pieces, where there are several sources

func newPieces(count int) *pieces {
	p := &pieces{absent: count}
	if count > 0 {
		p.missing = []pieceRun{{0, count}}
	}
	return p
}

func (p *pieces) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.absent
}

// take gives a run to ask for: all there is where one source does it, else a fair part; none: 0, 0.
func (p *pieces) take(sources int) (first, end int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.missing) == 0 {
		return 0, 0
	}
	r := &p.missing[0]
	first, end = r.first, r.end
	if sources > 1 {
		end = min(end, first+min(max(p.absent/(2*sources), 1), longestRun))
	}
	if r.first = end; r.first == r.end {
		p.missing = p.missing[1:]
	}
	return first, end
}

// done takes note that of first to end all before next are here; the rest is for others.
func (p *pieces) done(first, next, end int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.absent -= next - first
	if next < end {
		p.missing = append(p.missing, pieceRun{next, end})
	}
}
