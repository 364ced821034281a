package main

import (
	"crypto/ecdsa"
	"errors"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/codes"

	pb "p2pshare.example/go/p2pv1"
)

const grantLeeway = 120 * time.Second

// grantRules is what a source judges grants by.
type grantRules struct {
	key         *ecdsa.PublicKey
	directoryID string
	peerID      string
	now         time.Time // by the directory's clock
}

type grantClaims struct {
	jwt.RegisteredClaims
	Digests []string `json:"digests"`
	All     bool     `json:"all"`
}

// covers tells whether the grant is for this content.
func (c *grantClaims) covers(digest string) bool { return c.All || slices.Contains(c.Digests, digest) }

// check verifies everything but which content the grant is for.
func (rules grantRules) check(token string) (*grantClaims, error) {
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"ES256"}),
		jwt.WithIssuer(rules.directoryID),
		jwt.WithAudience(rules.peerID),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(grantLeeway),
		jwt.WithTimeFunc(func() time.Time { return rules.now }))
	claims := &grantClaims{}
	_, err := parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical || rules.key == nil {
			return nil, jwt.ErrTokenUnverifiable
		}
		return rules.key, nil
	})
	invalid := refuse(codes.Unauthenticated, pb.ErrorReason_ERROR_REASON_GRANT_INVALID, "the grant is not one of this directory")
	switch {
	case err == nil && (claims.Subject == "" || claims.IssuedAt == nil):
		return nil, invalid
	case err == nil:
		return claims, nil
	case errors.Is(err, jwt.ErrTokenInvalidIssuer), errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return nil, invalid
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return nil, refuse(codes.PermissionDenied, pb.ErrorReason_ERROR_REASON_GRANT_MISMATCH, "the grant is for another source")
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenUsedBeforeIssued), errors.Is(err, jwt.ErrTokenNotValidYet):
		return nil, refuse(codes.Unauthenticated, pb.ErrorReason_ERROR_REASON_GRANT_EXPIRED, "the grant is not valid now")
	}
	return nil, invalid
}
