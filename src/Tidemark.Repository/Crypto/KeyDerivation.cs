using System.Numerics;
using System.Security.Cryptography;
using System.Text;
using Org.BouncyCastle.Crypto.Generators;

namespace Tidemark.Repository.Crypto;

/// <summary>What scrypt is asked to spend on a password.</summary>
/// <param name="N">The cost, a power of two; memory is 128 · <paramref name="N"/> · <paramref name="R"/> bytes.</param>
/// <param name="R">The block size.</param>
/// <param name="P">The parallelism: how often it is done.</param>
public sealed record KeyDerivation(int N, int R, int P)
{
    /// <summary>For new keys: 64 MiB of memory, about 0.2 s.</summary>
    public static KeyDerivation Default { get; } = new(1 << 16, 8, 1);

    /// <summary>Turns a password into a key.</summary>
    /// <exception cref="RepositoryException">The parameters make no sense, or ask for too much memory.</exception>
    internal RepositoryKey Derive(string password, byte[] salt, string where)
    {
        var sane = N > 1 && BitOperations.IsPow2(N) && R is > 0 and <= 1024 && P is > 0 and <= 64;
        if (!sane || 128L * N * R > RepositoryLimits.MaximumKeyDerivationMemory)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged,
                $"{where} asks for scrypt with N={N}, r={R}, p={P}, which is out of bounds");
        }

        var secret = Encoding.UTF8.GetBytes(password);
        var bytes = SCrypt.Generate(secret, salt, N, R, P, RepositoryKey.Length);
        var key = RepositoryKey.FromBytes(bytes);
        CryptographicOperations.ZeroMemory(secret);
        CryptographicOperations.ZeroMemory(bytes);
        return key;
    }
}
