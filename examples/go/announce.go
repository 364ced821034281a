package main

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "p2pshare.example/go/p2pv1"
)

// change is one resource added or one path withdrawn.
type change struct {
	counter  int64
	resource *pb.Resource // nil: withdrawn
	path     string
}

func (c change) sizeBytes() int {
	if c.resource == nil {
		return len(c.path) + 8
	}
	return proto.Size(c.resource) + 8
}

// since lists the changes after a revision of ours, in order; false where only a snapshot will do.
func (l *Library) since(held *pb.Revision) ([]change, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if held.GetEpoch() != l.epoch || held.GetCounter() > l.counter {
		return nil, false
	}
	var changes []change
	for _, f := range l.files {
		if f.counter > held.GetCounter() {
			changes = append(changes, change{f.counter, f.resource, f.resource.GetPath()})
		}
	}
	for listed, counter := range l.gone {
		if counter > held.GetCounter() {
			changes = append(changes, change{counter, nil, listed})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return cmp.Compare(a.counter, b.counter) })
	return changes, true
}

// snapshot lists everything, and the revision that it is.
func (l *Library) snapshot() ([]change, *pb.Revision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []change
	for _, f := range l.files {
		all = append(all, change{f.counter, f.resource, f.resource.GetPath()})
	}
	slices.SortFunc(all, func(a, b change) int { return cmp.Compare(a.path, b.path) })
	return all, &pb.Revision{Epoch: l.epoch, Counter: l.counter}
}

// batches cuts changes so that each part fits into one Announce; nothing gives one empty part.
func batches(changes []change, limits *pb.Limits) [][]change {
	items, room := int(limits.GetMaxAnnounceItems()), int(limits.GetMaxRequestBytes())-1024
	if items < 1 {
		items = 1000
	}
	if room < 1 {
		room = 512 << 10
	}
	parts, start, used := [][]change{}, 0, 0
	for i, c := range changes {
		size := c.sizeBytes()
		if i > start && (i-start == items || used+size > room) {
			parts, start, used = append(parts, changes[start:i]), i, 0
		}
		used += size
	}
	return append(parts, changes[start:])
}

// deltaRequests lead from the held revision to the newest change, each from where the one before ended.
func deltaRequests(held *pb.Revision, changes []change, limits *pb.Limits) []*pb.AnnounceRequest {
	var requests []*pb.AnnounceRequest
	base := held
	for _, part := range batches(changes, limits) {
		if len(part) == 0 {
			continue
		}
		request := &pb.AnnounceRequest{Base: base, Revision: &pb.Revision{Epoch: held.GetEpoch(), Counter: part[len(part)-1].counter}}
		fill(request, part)
		requests, base = append(requests, request), request.Revision
	}
	return requests
}

// snapshotRequests replace the whole catalog.
func snapshotRequests(all []change, revision *pb.Revision, limits *pb.Limits) []*pb.AnnounceRequest {
	var requests []*pb.AnnounceRequest
	parts, id := batches(all, limits), randomID()
	for i, part := range parts {
		request := &pb.AnnounceRequest{Revision: revision, Snapshot: &pb.Snapshot{
			SnapshotId: id, BatchIndex: int32(i), Last: i == len(parts)-1,
		}}
		fill(request, part)
		requests = append(requests, request)
	}
	return requests
}

func fill(request *pb.AnnounceRequest, part []change) {
	for _, c := range part {
		if c.resource != nil {
			request.Resources = append(request.Resources, c.resource)
		} else {
			request.WithdrawnPaths = append(request.WithdrawnPaths, c.path)
		}
	}
}
