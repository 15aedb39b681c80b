using Tidemark.Nbd.Tls;

namespace Tidemark.Nbd.Server;

/// <summary>The limits of a server. Every one has a meaning for a hostile client.</summary>
public sealed record NbdServerOptions
{
    /// <summary>How many clients are served at once; further ones wait in the kernel's queue.</summary>
    public int MaximumConnections { get; init; } = 1024;

    /// <summary>Whether the server stops by itself when a client that had entered an export leaves and none is left, as
    /// qemu-nbd does without <c>--persistent</c>. The default is no. See <see cref="NbdServer.Stopped"/>.</summary>
    public bool StopAfterLastClient { get; init; }

    /// <summary>How many requests of one connection are worked on at once: its threads at most.</summary>
    public int WorkersPerConnection { get; init; } = 16;

    /// <summary>How many bytes the long requests (over 64 KiB) of all connections hold in memory together; further ones
    /// wait. One request of each connection is let in whatever the others hold.</summary>
    public long BytesInFlight { get; init; } = 256L << 20;

    /// <summary>How many bytes the requests of one connection hold in memory; the next request waits.</summary>
    public int BytesInFlightPerConnection { get; init; } = 64 << 20;

    /// <summary>How long a client may take to choose an export before it is cut off.</summary>
    public TimeSpan HandshakeTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long <see cref="NbdServer.StopAsync"/> waits for
    /// requests under way before it cuts clients off.</summary>
    public TimeSpan StopTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Whether and how clients are served over TLS; null, the default, for not at all.</summary>
    public NbdServerTls? Tls { get; init; }

    /// <summary>The clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;
}
