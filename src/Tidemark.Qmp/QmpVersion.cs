using System.Text.Json;
using System.Text.Json.Nodes;

namespace Tidemark.Qmp;

/// <summary>The version that a monitor's greeting names.</summary>
/// <param name="Major">For example 7.</param>
/// <param name="Minor">For example 2.</param>
/// <param name="Micro">For example 22.</param>
/// <param name="Package">The packager's text; may be empty.</param>
public sealed record QmpVersion(int Major, int Minor, int Micro, string Package)
{
    /// <summary>Reads the <c>version</c> object of a greeting or of <c>query-version</c>.</summary>
    /// <exception cref="QmpException">It is not one.</exception>
    public static QmpVersion Read(JsonElement version)
    {
        if (version.ValueKind == JsonValueKind.Object
            && version.TryGetProperty("qemu", out var qemu) && qemu.ValueKind == JsonValueKind.Object
            && TryReadNumber(qemu, "major", out var major)
            && TryReadNumber(qemu, "minor", out var minor)
            && TryReadNumber(qemu, "micro", out var micro))
        {
            var package = version.TryGetProperty("package", out var text) && text.ValueKind == JsonValueKind.String
                ? text.GetString()!
                : "";
            return new QmpVersion(major, minor, micro, package);
        }

        throw new QmpException(
            QmpException.ProtocolError, "the monitor's version is not an object with a 'qemu' version");
    }

    /// <summary>The object that <see cref="Read"/> reads.</summary>
    public JsonObject ToJson() => new()
    {
        ["qemu"] = new JsonObject { ["micro"] = Micro, ["minor"] = Minor, ["major"] = Major },
        ["package"] = Package,
    };

    /// <inheritdoc/>
    public override string ToString() => $"{Major}.{Minor}.{Micro}";

    private static bool TryReadNumber(JsonElement parent, string name, out int value)
    {
        value = 0;
        return parent.TryGetProperty(name, out var number) && number.ValueKind == JsonValueKind.Number
            && number.TryGetInt32(out value);
    }
}
