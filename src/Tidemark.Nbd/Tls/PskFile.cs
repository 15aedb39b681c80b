using System.Buffers;
using System.Security.Cryptography;
using System.Text;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Tls;

/// <summary>A file of shared keys as GnuTLS's psktool writes it and QEMU, nbdkit and libnbd read it: a line
/// <c>USER:KEY</c> for each user, the key in hexadecimal digits.</summary>
internal sealed class PskFile
{
    /// <summary>The longest file, in bytes.</summary>
    private const long LongestFile = 1 << 20;

    /// <summary>The shortest key, in bytes: what is shorter can be tried out.</summary>
    private const int ShortestKey = 16;

    /// <summary>The longest key, in bytes: what the peers' TLS takes.</summary>
    private const int LongestKey = 64;

    private readonly string _path;
    private readonly Dictionary<string, byte[]> _keys = new(StringComparer.Ordinal);

    private PskFile(string path) => _path = path;

    /// <summary>Reads a file.</summary>
    /// <exception cref="NbdException">There is none, it cannot be read, or a line is not what it should be.</exception>
    internal static PskFile Load(string path)
    {
        try
        {
            if (new FileInfo(path) is { Exists: true, Length: > LongestFile })
            {
                throw Bad(path, $"it is longer than {LongestFile} bytes");
            }

            var file = new PskFile(path);
            var number = 0;
            foreach (var line in File.ReadLines(path, Encoding.UTF8))
            {
                number++;
                if (line.Length > 0 && !line.StartsWith('#'))
                {
                    file.Add(line, number);
                }
            }

            return file._keys.Count > 0 ? file : throw Bad(path, "it has no line USER:KEY");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new NbdException(
                exception is FileNotFoundException or DirectoryNotFoundException
                    ? BlockErrorKind.NotFound
                    : BlockErrorKind.Invalid,
                $"cannot read the file of shared keys '{path}': {exception.Message}",
                exception);
        }
    }

    /// <summary>A user's key; null when the file has none.</summary>
    internal byte[]? Find(string user) => _keys.GetValueOrDefault(user);

    /// <summary>A user's key.</summary>
    /// <exception cref="NbdException">The file has none.</exception>
    internal byte[] Require(string user) => Find(user) ?? throw new NbdException(
        BlockErrorKind.NotFound,
        $"the file of shared keys '{_path}' has no line for the user '{user}'; name another as USER@ in the URI");

    private void Add(string line, int number)
    {
        var colon = line.LastIndexOf(':');
        var key = new byte[LongestKey];
        if (colon <= 0
            || Convert.FromHexString(line.AsSpan(colon + 1).Trim(), key, out _, out var length)
                is not OperationStatus.Done
            || length < ShortestKey)
        {
            // The line itself stays out of the message: it may be a key.
            throw Bad(
                _path,
                $"line {number} is not USER:KEY with a key of {2 * ShortestKey} to {2 * LongestKey} hexadecimal "
                + "digits");
        }

        if (!_keys.TryAdd(line[..colon], key[..length]))
        {
            throw Bad(_path, $"line {number} names a user for the second time");
        }

        CryptographicOperations.ZeroMemory(key);
    }

    private static NbdException Bad(string path, string why) =>
        new(BlockErrorKind.Invalid, $"'{path}' is not a file of shared keys: {why}");
}
