using Tidemark.Images.Naming;

namespace Tidemark.Images.Opening;

/// <summary>One image as it is to be opened: by its name, or by options (a <c>json:</c> name, or a part of
/// one).</summary>
/// <param name="Name">The name; null when <paramref name="Options"/> describe the image.</param>
/// <param name="Format">The format that the caller or the image above names; null to look.</param>
/// <param name="Options">The options that describe it; null with a name.</param>
/// <param name="Prefix">Where its options begin: empty, or <c>backing.</c></param>
internal sealed record ImageSource(string? Name, string? Format, ImageOptions? Options, string Prefix)
{
    private static readonly string[] s_protocols = ["file", "host_device", "nbd"];

    /// <summary>The source that a name means.</summary>
    /// <exception cref="ImageException">A <c>json:</c> name that is none, or that says a second format.</exception>
    internal static ImageSource Of(string name, string? format)
    {
        if (!ImageName.IsJson(name))
        {
            return new ImageSource(name, format, null, "");
        }

        var options = ImageName.ReadJson(name);
        return format is not null && options.Has("driver")
            ? throw ImageException.Invalid($"Driver specified twice: format '{format}' and the 'driver' of '{name}'")
            : new ImageSource(null, format, options, "");
    }

    /// <summary>Takes the format and the place from the options.</summary>
    /// <returns>The format, null to look; the place; and whether QEMU's image locks are bypassed.</returns>
    /// <exception cref="ImageException">An option is missing or is not supported.</exception>
    internal (string? Format, ImagePlace Place, bool WithoutLocks) Read()
    {
        if (Options is null)
        {
            return (IsProtocol(Format) ? "raw" : Format, ImageName.ReadPlace(Name!), false);
        }

        var driver = Options.Take($"{Prefix}driver") ?? Format;
        if (IsProtocol(driver))
        {
            var (bare, unlocked) = ReadPlace(Prefix, driver);
            return ("raw", bare, unlocked);
        }

        if (Options.Take($"{Prefix}file") is { } reference)
        {
            throw ImageException.NotSupported(
                $"'file' of '{Options}' refers to a node '{reference}'; describe the file itself");
        }

        var nested = Options.Has($"{Prefix}file") || !Options.Has($"{Prefix}filename");
        var prefix = nested ? $"{Prefix}file." : Prefix;
        var (place, withoutLocks) = ReadPlace(prefix, nested ? Options.Take($"{prefix}driver") : null);
        return (driver, place, withoutLocks);
    }

    /// <summary>What the options say of the backing image: nothing, that there is none, or what it is.</summary>
    /// <param name="isNone">Whether they say that there is none.</param>
    internal ImageSource? ReadBacking(out bool isNone)
    {
        isNone = Options?.TakeNull($"{Prefix}backing") ?? false;
        return ReadChild("backing");
    }

    /// <summary>What the options say of a child image; null when they do not.</summary>
    internal ImageSource? ReadChild(string role)
    {
        if (Options is null || !Options.Has($"{Prefix}{role}"))
        {
            return null;
        }

        return Options.Take($"{Prefix}{role}") is { } reference
            ? throw ImageException.NotSupported(
                $"'{role}' of '{Options}' refers to a node '{reference}'; describe the image itself")
            : new ImageSource(null, null, Options, $"{Prefix}{role}.");
    }

    private static bool IsProtocol(string? driver) => driver is not null && s_protocols.Contains(driver);

    private (ImagePlace Place, bool WithoutLocks) ReadPlace(string prefix, string? driver)
    {
        var options = Options!;
        switch (driver)
        {
            case null:
                return (ImageName.ReadPlace(Required($"{prefix}filename")), false);
            case "file" or "host_device":
                var locking = options.Take($"{prefix}locking") ?? "auto";
                return locking is "on" or "off" or "auto"
                    ? (new ImagePlace(Required($"{prefix}filename"), null, ""), locking == "off")
                    : throw ImageException.Invalid($"'locking' of '{options}' must be on, off or auto");
            case "nbd":
                return (ReadNbd(prefix), false);
            default:
                throw ImageException.NotSupported(
                    $"driver '{driver}' for the file of '{options}' is not supported: file, host_device and nbd are");
        }
    }

    private ImagePlace ReadNbd(string prefix)
    {
        var options = Options!;
        var export = options.Take($"{prefix}export") ?? "";

        // The older form has the server's options beside the export's.
        var server = options.Has($"{prefix}server") ? $"{prefix}server." : prefix;
        var type = options.Take($"{server}type") ?? (options.Has($"{server}path") ? "unix" : "inet");
        var endPoint = type switch
        {
            "unix" => Nbd.Protocol.NbdEndPoint.ForUnix(Required($"{server}path")),
            "inet" => Nbd.Protocol.NbdEndPoint.ForTcp(
                Required($"{server}host"),
                (int)Math.Min(ushort.MaxValue, options.TakeNumber($"{server}port") ?? 10809)),
            _ => throw ImageException.NotSupported($"'{server}type' of '{options}' is '{type}': unix and inet are"),
        };
        return new ImagePlace(null, endPoint, export);
    }

    private string Required(string key) => Options!.Take(key)
        ?? throw ImageException.Invalid($"'{Options}' does not say '{key}'");
}
