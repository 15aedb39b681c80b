using Org.BouncyCastle.Crypto.Prng;
using Org.BouncyCastle.Security;
using Org.BouncyCastle.Tls.Crypto;
using Org.BouncyCastle.Tls.Crypto.Impl.BC;

namespace Tidemark.Fuzz.Targets;

/// <summary>TLS whose chance is the same each time: what a peer said once is good for another run, to the last
/// message of the handshake.</summary>
/// <param name="seed">Another one, other numbers.</param>
/// <param name="finiteFields">Whether keys of finite fields are known, which take a hundred times as long as those of
/// curves.</param>
internal sealed class FixedTlsCrypto(byte seed, bool finiteFields)
    : BcTlsCrypto(new SecureRandom(new Numbers(seed)))
{
    public override bool HasDHAgreement() => finiteFields;

    public override TlsNonceGenerator CreateNonceGenerator(byte[] additionalSeedMaterial) => new Numbers(7);

    private sealed class Numbers(byte seed) : IRandomGenerator, TlsNonceGenerator
    {
        private Random _random = new(seed);

        public byte[] GenerateNonce(int size)
        {
            var nonce = new byte[size];
            _random.NextBytes(nonce);
            return nonce;
        }

        public void AddSeedMaterial(byte[] seed) => _random = new Random(seed.Length);

        public void AddSeedMaterial(ReadOnlySpan<byte> seed) => _random = new Random(seed.Length);

        public void AddSeedMaterial(long seed) => _random = new Random((int)seed);

        public void NextBytes(byte[] bytes) => _random.NextBytes(bytes);

        public void NextBytes(byte[] bytes, int start, int len) => _random.NextBytes(bytes.AsSpan(start, len));

        public void NextBytes(Span<byte> bytes) => _random.NextBytes(bytes);
    }
}
