using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Planning;

/// <summary>How a plan has the hypervisor encrypt one image. The key goes from its file to the hypervisor: neither the
/// plan nor the journal nor this program holds it.</summary>
/// <param name="SecretId">The hypervisor's object that holds the key while the backup runs.</param>
/// <param name="KeyFile">The file, at the hypervisor, whose bytes are the key.</param>
/// <param name="Encryption">What the definition says of it.</param>
public sealed record PlannedEncryption(string SecretId, string KeyFile, ImageEncryption Encryption)
{
    /// <summary>The arguments that make the object with the key.</summary>
    internal JsonObject ToSecret() => new() { ["qom-type"] = "secret", ["id"] = SecretId, ["file"] = KeyFile };

    /// <summary>Adds what LUKS needs to make an image: what the definition leaves open is the hypervisor's
    /// choice.</summary>
    internal void AddCreation(JsonObject options)
    {
        AddKey(options);
        if (Encryption.Cipher is { } cipher)
        {
            options["cipher-alg"] = $"{cipher.Name}-{cipher.Size}";
            AddIfSaid(options, "cipher-mode", cipher.Mode);
            AddIfSaid(options, "hash-alg", cipher.Hash);
        }

        if (Encryption.Vector is { } vector)
        {
            options["ivgen-alg"] = vector.Name;
            AddIfSaid(options, "ivgen-hash-alg", vector.Hash);
        }
    }

    /// <summary>Adds what LUKS needs to open an image.</summary>
    internal void AddKey(JsonObject options) => options["key-secret"] = SecretId;

    private static void AddIfSaid(JsonObject options, string name, string? value)
    {
        if (value is not null)
        {
            options[name] = value;
        }
    }
}
