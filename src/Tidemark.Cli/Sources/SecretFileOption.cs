using System.CommandLine;

namespace Tidemark.Cli.Sources;

/// <summary><c>--secret-file SECRET=FILE</c>: where the key of a secret lies that a definition names.</summary>
internal static class SecretFileOption
{
    /// <summary>Builds the option.</summary>
    public static Option<string[]> Create() => new("--secret-file")
    {
        Description = "Where the hypervisor finds the key of an encrypted target or scratch, by the uuid or usage of "
            + "its <secret>; may be repeated. The key is all the bytes of the file: a newline at its end counts.",
        HelpName = "SECRET=FILE",
    };

    /// <summary>Reads the option.</summary>
    /// <exception cref="UsageException">One names no secret or no file, or a secret is given twice.</exception>
    public static IReadOnlyDictionary<string, string> Read(string[]? given)
    {
        Dictionary<string, string> files = new(StringComparer.Ordinal);
        foreach (var text in given ?? [])
        {
            var equals = text.LastIndexOf("=/", StringComparison.Ordinal);
            equals = equals >= 0 ? equals : text.LastIndexOf('=');
            if (equals <= 0 || equals == text.Length - 1)
            {
                throw new UsageException($"--secret-file '{text}' is not SECRET=FILE");
            }

            var name = text[..equals];
            if (!files.TryAdd(
                Guid.TryParseExact(name, "D", out _) ? name.ToLowerInvariant() : name,
                Path.GetFullPath(text[(equals + 1)..])))
            {
                throw new UsageException($"--secret-file names '{name}' twice");
            }
        }

        return files;
    }
}
