package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "p2pshare.example/go/p2pv1"
)

func TestManifestOfTheDocs(t *testing.T) {
	digest, manifest, err := hashContent(strings.NewReader("abc"), 3)

	if err != nil || digest != "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85" {
		t.Fatalf("digest %s, %v", digest, err)
	}
	if got := manifest.Digest(); got != "1174b28416b3e7d6dc0ae7483df08bc1e1fb4433b610f5a8edc146899b9ebcfb" {
		t.Errorf("manifest digest %s", got)
	}
}

func TestPieceSizeFollowsFromSize(t *testing.T) {
	for size, want := range map[int64]int64{
		0: 1 << 20, 1: 1 << 20, 1<<36 - 1: 1 << 20, 1 << 36: 1 << 20, 1<<36 + 1: 2 << 20, 1 << 37: 2 << 20, math.MaxInt64: 1 << 47,
	} {
		if got := pieceSizeOf(size); got != want {
			t.Errorf("size %d: %d, want %d", size, got, want)
		}
	}
}

func TestManifestPiecesAtTheEdges(t *testing.T) {
	for size, count := range map[int]int{0: 0, 1: 1, 1<<20 - 1: 1, 1 << 20: 1, 1<<20 + 1: 2, 3 << 20: 3} {
		content := bytes.Repeat([]byte{7}, size)
		_, manifest, err := hashContent(bytes.NewReader(content), int64(size))
		if err != nil || manifest.Count() != count {
			t.Fatalf("size %d: %d pieces, %v", size, manifest.Count(), err)
		}
		again, err := manifestFromWire(manifest.toWire())
		if err != nil || again.Digest() != manifest.Digest() {
			t.Errorf("size %d: does not survive the wire: %v", size, err)
		}
		for i := range count {
			offset, length := manifest.Span(i)
			piece := content[offset : offset+length]
			if !manifest.Verifies(i, piece) || manifest.Verifies(i, append(bytes.Clone(piece), 0)) {
				t.Errorf("size %d: piece %d", size, i)
			}
		}
	}
}

func TestManifestWithAnotherShapeIsRefused(t *testing.T) {
	for _, m := range []*pb.Manifest{
		{SizeBytes: -1, PieceSizeBytes: 1 << 20},
		{SizeBytes: 1, PieceSizeBytes: 1 << 20},
		{SizeBytes: 1, PieceSizeBytes: 2 << 20, PieceDigests: make([]byte, 32)},
		{SizeBytes: 1, PieceSizeBytes: 0, PieceDigests: make([]byte, 32)},
		{SizeBytes: 1<<20 + 1, PieceSizeBytes: 1 << 20, PieceDigests: make([]byte, 32)},
		{SizeBytes: 0, PieceSizeBytes: 1 << 20, PieceDigests: make([]byte, 32)},
		{SizeBytes: math.MaxInt64, PieceSizeBytes: 1 << 47},
		nil,
	} {
		if _, err := manifestFromWire(m); err == nil {
			t.Errorf("accepted %v", m)
		}
	}
}

func TestPaths(t *testing.T) {
	for _, good := range []string{"a", "a/b.txt", "aux.c", "a:b", "é", "日本/語", "a b", ".hidden", "…", "-rf", "नी\u200d", strings.Repeat("a", 255)} {
		if err := checkPath(good); err != nil {
			t.Errorf("%q refused: %v", good, err)
		}
	}
	for _, bad := range []string{"", "/a", "a/", "a//b", ".", "..", "a/../b", "a\\b", "a\nb", "a\x00", "\x1b[31m", "e\u0301", "\u202etxt",
		"a\u2028b", "\ue000", "\U000e0001", "\ufeffa", "\xff", "\u0378", strings.Repeat("a", 256), strings.Repeat("a/", 64) + "a",
		strings.Repeat("abc/", 300) + "a"} {
		if checkPath(bad) == nil {
			t.Errorf("%q accepted", bad)
		}
	}
	if name, err := localName("x/y.txt"); err != nil || name != "y.txt" {
		t.Errorf("local name %q, %v", name, err)
	}
	if got := printable("\x1b[31mred\u202e"); got != "\ufffd[31mred\ufffd" {
		t.Errorf("printable gives %q", got)
	}
}

func TestEndpointsAreAddressLiterals(t *testing.T) {
	for host, want := range map[string]string{"127.0.0.1": "127.0.0.1:80", "::1": "[::1]:80", "fe80::1%eth0": "", "localhost": "", "[::1]": "", "": ""} {
		if got, _ := endpointAddress(&pb.Endpoint{Host: host, Port: 80}); got != want {
			t.Errorf("%q gives %q", host, got)
		}
	}
}

func TestRegisterBytes(t *testing.T) {
	certificate := []byte("certificate")
	sum := sha256.Sum256(certificate)
	want := "p2p.v1.Register\x00" + "\x00\x00\x00\x20" + strings.Repeat("\x01", 32) + "\x00\x00\x00\x02" + "ch" +
		"\x00\x00\x00\x03" + "ann" + "\x00\x00\x00\x04" + "peer" + "\x00\x00\x00\x20" + string(sum[:])

	got := registerBytes([32]byte(bytes.Repeat([]byte{1}, 32)), []byte("ch"), "ann", "peer", certificate)

	if string(got) != want {
		t.Errorf("got %q", got)
	}
	if got := proveIdentityBytes([]byte("n"), "p"); string(got) != "p2p.v1.ProveIdentity\x00\x00\x00\x00\x01n\x00\x00\x00\x01p" {
		t.Errorf("got %q", got)
	}
}

func TestIdentityHasTheProfileAndIsKept(t *testing.T) {
	folder := t.TempDir()
	id, err := loadIdentity(folder)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(id.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckSignature(x509.ECDSAWithSHA256, c.RawTBSCertificate, c.Signature); err != nil {
		t.Error(err)
	}
	if c.NotBefore.Format(time.RFC3339) != "2000-01-01T00:00:00Z" || c.NotAfter.Format(time.RFC3339) != "9999-12-31T23:59:59Z" ||
		c.SerialNumber.Sign() < 1 || len(c.DNSNames) != 1 || c.DNSNames[0] != peerName || c.KeyUsage != 0 || c.ExtKeyUsage != nil || len(c.Extensions) != 1 {
		t.Errorf("certificate %+v", c)
	}
	if again, err := loadIdentity(folder); err != nil || !bytes.Equal(again.Certificate, id.Certificate) {
		t.Errorf("made anew: %v", err)
	}
	if info, _ := os.Stat(filepath.Join(folder, "identity.pem")); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestGrants(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	now := time.Unix(1_800_000_000, 0)
	rules := grantRules{&key.PublicKey, "directory", "me", now}
	digest := strings.Repeat("a", 64)
	good := func(change func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{"iss": "directory", "aud": "me", "sub": "ann", "iat": now.Unix(), "exp": now.Unix() + 60, "digests": []string{digest}}
		if change != nil {
			change(c)
		}
		return c
	}
	es256 := func(c jwt.MapClaims, signer *ecdsa.PrivateKey) string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodES256, c).SignedString(signer)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	none, _ := jwt.NewWithClaims(jwt.SigningMethodNone, good(nil)).SignedString(jwt.UnsafeAllowNoneSignatureType)
	public, _ := x509.MarshalPKIXPublicKey(&key.PublicKey)
	hmac, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, good(nil)).SignedString(public)

	for name, c := range map[string]struct{ token, reason string }{
		"good":            {es256(good(nil), key), ""},
		"just expired":    {es256(good(func(c jwt.MapClaims) { c["exp"] = now.Unix() - 119 }), key), ""},
		"expired":         {es256(good(func(c jwt.MapClaims) { c["exp"] = now.Unix() - 121 }), key), "GRANT_EXPIRED"},
		"from the future": {es256(good(func(c jwt.MapClaims) { c["iat"] = now.Unix() + 121 }), key), "GRANT_EXPIRED"},
		"no exp":          {es256(good(func(c jwt.MapClaims) { delete(c, "exp") }), key), "GRANT_INVALID"},
		"no iat":          {es256(good(func(c jwt.MapClaims) { delete(c, "iat") }), key), "GRANT_INVALID"},
		"no sub":          {es256(good(func(c jwt.MapClaims) { delete(c, "sub") }), key), "GRANT_INVALID"},
		"other issuer":    {es256(good(func(c jwt.MapClaims) { c["iss"] = "x" }), key), "GRANT_INVALID"},
		"other audience":  {es256(good(func(c jwt.MapClaims) { c["aud"] = "you" }), key), "GRANT_MISMATCH"},
		"forged":          {es256(good(nil), other), "GRANT_INVALID"},
		"alg none":        {none, "GRANT_INVALID"},
		"alg HS256":       {hmac, "GRANT_INVALID"},
		"no JWT":          {"abc", "GRANT_INVALID"},
	} {
		claims, err := rules.check(c.token)
		if c.reason == "" {
			if err != nil || !claims.covers(digest) || claims.covers(strings.Repeat("b", 64)) {
				t.Errorf("%s: %v", name, err)
			}
		} else if got := reasonName(reasonOf(err)); got != c.reason {
			t.Errorf("%s: %s (%s), want %s", name, got, status.Code(err), c.reason)
		}
	}
	all, err := rules.check(es256(good(func(c jwt.MapClaims) { delete(c, "digests"); c["all"] = true }), key))
	if err != nil || !all.covers(hex.EncodeToString(make([]byte, 32))) {
		t.Errorf("all: %v", err)
	}
}

func TestLibraryAnnouncesWhatChanged(t *testing.T) {
	root := filepath.Join(t.TempDir(), "shared")
	write := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(root, 0o700), os.WriteFile(filepath.Join(root, name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("a", "1")
	write("b", "2")
	library, err := newLibrary([]string{root})
	if err != nil {
		t.Fatal(err)
	}
	library.Scan(context.Background())
	if _, ok := library.since(&pb.Revision{}); ok {
		t.Error("a delta from nothing")
	}
	all, held := library.snapshot()
	if len(all) != 2 || all[0].path != "shared/a" {
		t.Fatalf("snapshot %v", all)
	}

	write("a", "changed")
	write("c", "3")
	os.Remove(filepath.Join(root, "b"))
	library.Scan(context.Background())
	changes, ok := library.since(held)
	requests := deltaRequests(held, changes, &pb.Limits{MaxAnnounceItems: 2, MaxRequestBytes: 1 << 20})

	if !ok || len(changes) != 3 || len(requests) != 2 {
		t.Fatalf("%d changes in %d requests", len(changes), len(requests))
	}
	if !proto.Equal(requests[0].GetBase(), held) || !proto.Equal(requests[1].GetBase(), requests[0].GetRevision()) ||
		!proto.Equal(requests[1].GetRevision(), library.Revision()) {
		t.Errorf("revisions do not follow: %v", requests)
	}
	if got := requests[1].GetWithdrawnPaths(); len(got) != 1 || got[0] != "shared/b" {
		t.Errorf("withdrawn %v", got)
	}
	if parts := batches(nil, nil); len(parts) != 1 || len(parts[0]) != 0 {
		t.Errorf("an empty snapshot is one empty batch, not %v", parts)
	}
}

func TestPiecesAreHandedOutOnce(t *testing.T) {
	p, seen := newPieces(100), map[int]bool{}
	for p.left() > 0 {
		first, end := p.take(3)
		next := first + (end-first+1)/2 // each source fails half-way
		for i := first; i < next; i++ {
			if seen[i] {
				t.Fatalf("piece %d twice", i)
			}
			seen[i] = true
		}
		p.done(first, next, end)
	}
	if len(seen) != 100 {
		t.Errorf("%d pieces", len(seen))
	}
}

func TestPartFileNeverTakesAnothersPlace(t *testing.T) {
	target := filepath.Join(t.TempDir(), "x")
	part, err := newPartFile(target, false)
	if err != nil {
		t.Fatal(err)
	}
	defer part.Discard()
	if err := os.WriteFile(target, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}

	err = part.Commit(false)

	if text, _ := os.ReadFile(target); err == nil || string(text) != "mine" {
		t.Errorf("%v, %q", err, text)
	}
}
