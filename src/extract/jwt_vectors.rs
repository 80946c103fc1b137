//! Tokens signed once by keys that were then thrown away: only their public halves are here. All have
//! the same claims: `nbf` 1,000,000,000, `exp` 2,000,000,000, issuer, audience, names and roles.

pub const RS256: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiw\
    iYXVkIjpbIm9yZGVycyIsImJpbGxpbmciXSwic3ViIjoiYWxpY2UiLCJuYW1lIjoiQWxpY2UgQS4iLCJvcmdfaWQiOiJhY21\
    lIiwibmJmIjoxMDAwMDAwMDAwLCJleHAiOjIwMDAwMDAwMDAsInJlYWxtX2FjY2VzcyI6eyJyb2xlcyI6WyJhZG1pbiIsImR\
    ldiJdfSwiaHR0cHM6Ly94LmV4YW1wbGUva2luZCI6InVzZXIiLCJuIjo0Mn0.16QRdqTs8mSBJmj6caGekvvfiT9JDIFpY1T\
    DGEkeiYV7pQPYYIFiMVbBlU4G1dSFNSB4mMj5SIp8F8bi_D0FD6UT_nkS18WZq_Yhmc6IHwQe2b7dfbwlhvAzVpnR2ZQsNbT\
    TvfetrmAFm9MfhfY8S0aotbTLHR1lqdbWX9aoqrPjE5gXVpjs6d1HKNmOGnm7PRyabr3P69ot9Lp_pcNC6W9MauYq5dcYSXc\
    0SGv838RJGIA4TdkzRbQKpuESwDpM5dUzXVaLUY762FoEhY4Uuro9y-1I5Mj29Z66E7uJ_f18DN6urdnnrEOM-aX5nBPzVBL\
    gD0_S36nPpLOe394CXg";
pub const PS256: &str = "eyJhbGciOiJQUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiw\
    iYXVkIjpbIm9yZGVycyIsImJpbGxpbmciXSwic3ViIjoiYWxpY2UiLCJuYW1lIjoiQWxpY2UgQS4iLCJvcmdfaWQiOiJhY21\
    lIiwibmJmIjoxMDAwMDAwMDAwLCJleHAiOjIwMDAwMDAwMDAsInJlYWxtX2FjY2VzcyI6eyJyb2xlcyI6WyJhZG1pbiIsImR\
    ldiJdfSwiaHR0cHM6Ly94LmV4YW1wbGUva2luZCI6InVzZXIiLCJuIjo0Mn0.aJxj9z-FbsDrkqRUzPFE3iyN4BgVeo7wVFZ\
    w38XQbnLJiAmE4a8FIGHdLQ-tX_Q1j00PFml5R_YP5-wHIvGGJGY0wY378vPJw_2zzKlm0h_lT-2R4mVc3ZUDChZjNGFtnfz\
    4CsDqoGwUkgI4paxbgZs0ylmZMscMFaibTsieAHmgvxXcYp-1N9lxst4d1ShqtJOvXMeHuDgEWTz5IZxs6EbnQMyN1Ff6kIP\
    ZMAaUHgQy0QKhmTLX_HLO_cB82In2jtzxUGj5QXAH-KtG-08lgF9zuxR_-mKrvx7kTK4rsQ3vUYYC8a2hvWbnRXmUKBX7vEH\
    vMJ3ChFcf2nxWUjD1Dw";
pub const ES256: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InAyNTYifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlI\
    iwiYXVkIjpbIm9yZGVycyIsImJpbGxpbmciXSwic3ViIjoiYWxpY2UiLCJuYW1lIjoiQWxpY2UgQS4iLCJvcmdfaWQiOiJhY\
    21lIiwibmJmIjoxMDAwMDAwMDAwLCJleHAiOjIwMDAwMDAwMDAsInJlYWxtX2FjY2VzcyI6eyJyb2xlcyI6WyJhZG1pbiIsI\
    mRldiJdfSwiaHR0cHM6Ly94LmV4YW1wbGUva2luZCI6InVzZXIiLCJuIjo0Mn0.vdf8Bbqu2P5NO2maD2t6O1nEK7NXKk7se\
    epRewKHGycWXhfr_HGFrU2am9L39cNwzbvTKCpUasAPg_AwjBm_wg";
pub const ES384: &str = "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCIsImtpZCI6InAzODQifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlI\
    iwiYXVkIjpbIm9yZGVycyIsImJpbGxpbmciXSwic3ViIjoiYWxpY2UiLCJuYW1lIjoiQWxpY2UgQS4iLCJvcmdfaWQiOiJhY\
    21lIiwibmJmIjoxMDAwMDAwMDAwLCJleHAiOjIwMDAwMDAwMDAsInJlYWxtX2FjY2VzcyI6eyJyb2xlcyI6WyJhZG1pbiIsI\
    mRldiJdfSwiaHR0cHM6Ly94LmV4YW1wbGUva2luZCI6InVzZXIiLCJuIjo0Mn0.mNPobLOQ7gfBgJx0kzH08kPncTIYFukd_\
    JCUZLKzlH0-XAZS5Z76Dv0v2B5ih8Ga274aYe6PzgdlFJvIfB4Ml2lMj7Wfn1vg0G78OPCFb4_hLdbnVcyt2PMnBbQQUo2Y";
pub const EDDSA: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImVkIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwi\
    YXVkIjpbIm9yZGVycyIsImJpbGxpbmciXSwic3ViIjoiYWxpY2UiLCJuYW1lIjoiQWxpY2UgQS4iLCJvcmdfaWQiOiJhY21l\
    IiwibmJmIjoxMDAwMDAwMDAwLCJleHAiOjIwMDAwMDAwMDAsInJlYWxtX2FjY2VzcyI6eyJyb2xlcyI6WyJhZG1pbiIsImRl\
    diJdfSwiaHR0cHM6Ly94LmV4YW1wbGUva2luZCI6InVzZXIiLCJuIjo0Mn0.TjFZTBt0nVPjDtHubmOeKGEgFXSwaosIbgt3\
    NyFYwAD39mKWV3FvBt_X0WJJECo5nmIGnW8BIW8ylQyAMS09CA";
pub const JWKS: &str = r#"{"keys":[
{"kty":"RSA","kid":"rsa","use":"sig","n":"3PqAwRkLC6x1xr79y6BvlqnWWuFmLJff6cuneujm_Yan0URYI_3zX7d82EaLFwUXPuu4Aqr0D39Yeu81YNj3NqB-XSLHEQQhLJ0agmaJfV2-azr0teuA5wUmFwFgI3pRgkVymyL21G3I389bM67DtuuThpdnwIjUyeUe5G4J835N6hu0OnJpECGLHfwZxPPNJoj6FIbPsKFfZbmUgYiqLF8hbScvuwarGfDEjGhUC7w21sxxQutRJs8vtEaRrQ8atiFE8QcrksayLDD5RZWUHBaAzZraHxVDF2d8KopWG_Bj6DcZIGVleF690iOCT_P002_zbG2v-SSFCM1qU2QV0w","e":"AQAB"},
{"kty":"EC","kid":"p256","crv":"P-256","x":"TGS9E7ldYmH1mf0NNvnmsaCQWPBRknzxCrYKsBXQx0o","y":"VRdJnRGREC_ilJMSyv6eZUeuzjiM5ypcLPaILDDW7v8"},
{"kty":"EC","kid":"p384","crv":"P-384","alg":"ES384","x":"lNb3tk_wvWKvrgmW-zgIZuO0SRLNBTfvvIjEOKTGzHRQep_qsCcc3bW2F763gJ7S","y":"Dg0ceA0cyCBtGx2ynXFhQZqnv9hCoysElIOSY29rvXVxZYNXl29licEE9nxMhSC8"},
{"kty":"OKP","kid":"ed","crv":"Ed25519","x":"gU5EcsvsQt2Q5nbw578U_L2wW0XVkF2XOdC6jb5kWFQ"}
]}"#;
