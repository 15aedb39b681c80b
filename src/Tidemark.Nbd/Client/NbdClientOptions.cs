using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Tls;

namespace Tidemark.Nbd.Client;

/// <summary>What a client asks for, and its limits.</summary>
public sealed record NbdClientOptions
{
    /// <summary>The export; empty for the server's default one.</summary>
    public string ExportName { get; init; } = "";

    /// <summary>The metadata contexts wanted, by their full names; one that ends in a colon (<c>qemu:</c>) stands for
    /// all that the server lists under it. Those that the server does not have are left out: see
    /// <see cref="NbdClient.MetaContexts"/>.</summary>
    public IReadOnlyList<string> MetaContexts { get; init; } = [];

    /// <summary>Whether structured replies are asked for: precise errors, holes, metadata contexts. The default is
    /// yes.</summary>
    public bool UseStructuredReplies { get; init; } = true;

    /// <summary>Whether extended headers are asked for: requests of any length. The default is yes.</summary>
    public bool UseExtendedHeaders { get; init; } = true;

    /// <summary>How many requests may be under way at once; further callers wait.</summary>
    public int MaximumRequests { get; init; } = 64;

    /// <summary>
    /// Whether the code that awaits a request goes on on the thread that received its reply, so that no other thread is
    /// woken. It must not block on another request of the same connection. With at most
    /// <see cref="MaximumInlineRequests"/> requests it may send further ones: their headers fit in a socket's buffer
    /// even when nobody reads it, so that receiving never waits for sending.
    /// </summary>
    public bool InlineCompletions { get; init; }

    /// <summary>The most requests under way with which <see cref="InlineCompletions"/> is safe.</summary>
    public const int MaximumInlineRequests = 128;

    /// <summary>How long connecting and the handshake may take together.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// How long a cancelled request may still take. It cannot be recalled, and its memory is not free before the reply
    /// has come: after this time the connection is abandoned.
    /// </summary>
    public TimeSpan CancellationGrace { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How long a request may take before the connection is given up, with everything that is under way on
    /// it; infinite by default.</summary>
    public TimeSpan RequestTimeout { get; init; } = Timeout.InfiniteTimeSpan;

    /// <summary>How long closing, or the end of a lost connection, waits for the server to end its side; only then is
    /// the fate of the writes that were under way known.</summary>
    public TimeSpan CloseTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Whether and how TLS is used; null, the default, for not at all.</summary>
    public NbdClientTls? Tls { get; init; }

    /// <summary>The clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Options with a URI's export and TLS.</summary>
    /// <param name="uri">The URI.</param>
    /// <param name="options">Everything else; null for the defaults.</param>
    /// <exception cref="NbdException">A certificate of the URI's folder cannot be used.</exception>
    public static NbdClientOptions ForUri(NbdUri uri, NbdClientOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(uri);
        return (options ?? new NbdClientOptions()) with
        {
            ExportName = uri.ExportName,
            Tls = NbdClientTls.ForUri(uri),
        };
    }
}
