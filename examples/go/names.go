package main

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	pb "p2pshare.example/go/p2pv1"
)

// Names from the network are hostile until they passed these.
var (
	userPattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	peerIDPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{16,64}$`)
	digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

const (
	maxPathBytes  = 1024
	maxPathLevels = 64
	maxPartBytes  = 255
)

// checkPath tells what is wrong with a listed path, by the rules of docs/protocol.md.
func checkPath(p string) error {
	switch {
	case p == "":
		return fmt.Errorf("empty")
	case len(p) > maxPathBytes:
		return fmt.Errorf("longer than %d bytes", maxPathBytes)
	case !utf8.ValidString(p):
		return fmt.Errorf("not UTF-8")
	case !norm.NFC.IsNormalString(p):
		return fmt.Errorf("not NFC")
	case strings.ContainsRune(p, '\\'):
		return fmt.Errorf("a backslash in it")
	}
	for _, r := range p {
		if !isLawful(r) {
			return fmt.Errorf("unlawful character %U", r)
		}
	}
	parts := strings.Split(p, "/")
	if len(parts) > maxPathLevels {
		return fmt.Errorf("more than %d levels", maxPathLevels)
	}
	for _, part := range parts {
		switch {
		case part == "" || part == "." || part == "..":
			return fmt.Errorf("part %q", part)
		case len(part) > maxPartBytes:
			return fmt.Errorf("a part longer than %d bytes", maxPartBytes)
		}
	}
	return nil
}

// isLawful: graphic is letters, marks, numbers, punctuation, symbols and spaces, so neither control,
// format, surrogate, private-use nor unassigned ones, nor line and paragraph separators.
func isLawful(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d'
	return unicode.IsGraphic(r) || r == zeroWidthJoiner || r == zeroWidthNonJoiner
}

// localName is the name under which a listed path is stored here, or why it cannot be.
func localName(listed string) (string, error) {
	if err := checkPath(listed); err != nil {
		return "", err
	}
	name := path.Base(listed)
	if !filepath.IsLocal(name) || filepath.Base(name) != name {
		return "", fmt.Errorf("this system cannot store a file named %q", name)
	}
	return name, nil
}

// endpointAddress is "host:port" of an endpoint, false for anything but an address literal.
func endpointAddress(e *pb.Endpoint) (string, bool) {
	address, err := netip.ParseAddr(e.GetHost())
	if err != nil || address.Zone() != "" || e.GetPort() < 1 || e.GetPort() > 65535 {
		return "", false
	}
	return net.JoinHostPort(address.String(), strconv.Itoa(int(e.GetPort()))), true
}

// endpointAddresses are the good ones, in order.
func endpointAddresses(endpoints []*pb.Endpoint) []string {
	var good []string
	for _, e := range endpoints {
		if address, ok := endpointAddress(e); ok && len(good) < 16 {
			good = append(good, address)
		}
	}
	return good
}
