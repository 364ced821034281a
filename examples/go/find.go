package main

import (
	"context"
	"strings"

	pb "p2pshare.example/go/p2pv1"
)

// hit is a resource, its owner and where the peer is.
type hit struct {
	*pb.Resource
	owner    string
	endpoint any // string, or nil
}

// query finds at most limit resources, 0 for all; those with names that break the rules are left out.
func query(ctx context.Context, d *Directory, wanted *pb.QueryRequest, limit int) ([]hit, error) {
	var hits []hit
	refused := 0
	for {
		page, err := d.Query(ctx, wanted)
		if err != nil {
			return nil, d.directoryFailure(err)
		}
		peers := map[string]*pb.ListedPeer{}
		for _, p := range page.GetPeers() {
			peers[p.GetPeerId()] = p
		}
		for _, l := range page.GetListedResources() {
			r, p := l.GetResource(), peers[l.GetPeerId()]
			if checkPath(r.GetPath()) != nil || !userPattern.MatchString(p.GetUser()) || !digestPattern.MatchString(r.GetDigest()) || r.GetSizeBytes() < 0 {
				refused++
				continue
			}
			if hits = append(hits, hit{r, p.GetUser(), firstEndpoint(p.GetEndpoints())}); len(hits) == limit {
				return hits, nil
			}
		}
		next := page.GetNextPageToken()
		if next == "" || next == wanted.PageToken {
			break
		}
		wanted.PageToken = next
	}
	if refused > 0 {
		say("%d resources with unlawful names are not shown", refused)
	}
	return hits, nil
}

func firstEndpoint(endpoints []*pb.Endpoint) any {
	if good := endpointAddresses(endpoints); len(good) > 0 {
		return good[0]
	}
	return nil
}

// resolve finds the one content that a target means: a digest, OWNER:PATH, a path, a name.
func resolve(ctx context.Context, d *Directory, target string) (hit, error) {
	var wishes []*pb.QueryRequest
	if digest, ok := strings.CutPrefix(target, "b3:"); ok {
		if len(digest) < 8 || len(digest) > 64 || strings.Trim(digest, "0123456789abcdef") != "" {
			return hit{}, failf(exitUsage, "USAGE", "a digest is 8 to 64 lower-case hex after b3:, not %q", target)
		}
		wishes = []*pb.QueryRequest{{DigestPrefix: digest}}
	} else {
		if owner, path, ok := strings.Cut(target, ":"); ok && userPattern.MatchString(owner) {
			wishes = append(wishes, &pb.QueryRequest{Owner: owner, Path: path})
		}
		wishes = append(wishes, &pb.QueryRequest{Path: target})
		if !strings.Contains(target, "/") {
			wishes = append(wishes, &pb.QueryRequest{Name: target})
		}
	}
	for _, wish := range wishes {
		hits, err := query(ctx, d, wish, 1000)
		if err != nil {
			return hit{}, err
		}
		if len(hits) > 0 {
			return oneContent(target, hits)
		}
	}
	return hit{}, failf(exitNotFound, "NOT_FOUND", "nobody online shares %q", target)
}

// oneContent refuses to choose among different contents.
func oneContent(target string, hits []hit) (hit, error) {
	var choices []string
	seen := map[string]bool{}
	for _, h := range hits {
		if !seen[h.GetDigest()] {
			seen[h.GetDigest()] = true
			choices = append(choices, h.owner+":"+h.GetPath())
		}
	}
	if len(choices) == 1 {
		return hits[0], nil
	}
	return hit{}, failf(exitAmbiguous, "AMBIGUOUS", "%q stands for different contents:\n  %s", target, strings.Join(choices, "\n  "))
}
