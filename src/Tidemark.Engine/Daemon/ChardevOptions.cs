namespace Tidemark.Engine.Daemon;

/// <summary>A listening socket for a monitor: <c>--chardev socket,id=…</c>.</summary>
internal sealed record ChardevOptions
{
    /// <summary>Its name.</summary>
    public required string Id { get; init; }

    /// <summary>The unix socket's path, or null for TCP.</summary>
    public string? Path { get; init; }

    /// <summary>The TCP address to listen on, or null.</summary>
    public string? Host { get; init; }

    /// <summary>The TCP port; 0 lets the system choose one.</summary>
    public int Port { get; init; }

    /// <summary>Whether the daemon waits for the first client before it goes on: QEMU's default for a server.</summary>
    public bool Wait { get; init; } = true;

    /// <summary>Reads the option's text.</summary>
    /// <exception cref="StorageDaemonException">It is malformed, or asks for what is not supported.</exception>
    internal static ChardevOptions Parse(string text)
    {
        var parts = KeyValueText.Split(text);
        if (parts.Count == 0 || parts[0] is not ("socket" or "backend=socket"))
        {
            throw new StorageDaemonException($"--chardev {text}: only the 'socket' backend is supported");
        }

        Dictionary<string, string> values = new(StringComparer.Ordinal);
        foreach (var part in parts[1..])
        {
            var equals = part.IndexOf('=', StringComparison.Ordinal);
            var (key, value) = (equals < 0 ? part : part[..equals], equals < 0 ? "on" : part[(equals + 1)..]);
            if (equals < 0 && key is ("nowait" or "nodelay"))
            {
                // The older spelling of wait=off.
                (key, value) = (key[2..], "off");
            }

            values[key] = value;
        }

        foreach (var key in values.Keys)
        {
            if (key is not ("id" or "path" or "host" or "port" or "server" or "wait" or "delay"))
            {
                throw new StorageDaemonException($"--chardev {text}: Parameter '{key}' is not supported");
            }
        }

        if (!IsOn(text, values, "server", false))
        {
            throw new StorageDaemonException(
                $"--chardev {text}: only sockets that listen are supported: give server=on");
        }

        return new ChardevOptions
        {
            Id = values.GetValueOrDefault("id")
                ?? throw new StorageDaemonException($"--chardev {text}: Parameter 'id' is missing"),
            Path = values.GetValueOrDefault("path"),
            Host = ReadHost(text, values),
            Port = ReadPort(text, values),
            Wait = IsOn(text, values, "wait", true),
        };
    }

    private static string? ReadHost(string text, Dictionary<string, string> values)
    {
        if (values.ContainsKey("path") == values.ContainsKey("port"))
        {
            throw new StorageDaemonException($"--chardev {text}: give either 'path' or 'port'");
        }

        // Without a host QEMU listens on every address. A monitor is all power over the disks: name it to open it so
        // far.
        return values.ContainsKey("path") ? null : values.GetValueOrDefault("host") ?? "localhost";
    }

    private static int ReadPort(string text, Dictionary<string, string> values) =>
        !values.TryGetValue("port", out var port) ? 0
        : ushort.TryParse(port, out var number) ? number
        : throw new StorageDaemonException($"--chardev {text}: '{port}' is no TCP port");

    private static bool IsOn(string text, Dictionary<string, string> values, string key, bool unsaid) =>
        values.GetValueOrDefault(key) switch
        {
            null => unsaid,
            "on" or "yes" or "true" or "y" => true,
            "off" or "no" or "false" or "n" => false,
            _ => throw new StorageDaemonException($"--chardev {text}: Parameter '{key}' expects 'on' or 'off'"),
        };
}
