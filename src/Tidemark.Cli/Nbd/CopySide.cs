using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Cli.Nbd;

/// <summary>One side of <c>nbd copy</c>, opened: an export, a file or device, or nothing at all.</summary>
internal sealed class CopySide : IAsyncDisposable
{
    /// <summary>The target that takes everything and keeps nothing.</summary>
    public const string Null = "null:";

    private string? _created;

    private CopySide(BlockNode? node) => Node = node;

    /// <summary>The disk; null for <see cref="Null"/>.</summary>
    public BlockNode? Node { get; }

    /// <summary>Whether a target reads as zero everywhere.</summary>
    public bool IsZero { get; private init; }

    /// <summary>The connections to an export; 1 for a file.</summary>
    public int Connections => Node is NbdNode nbd ? nbd.Clients.Count : 1;

    /// <summary>Opens the side that is read.</summary>
    public static async Task<CopySide> OpenSourceAsync(
        string text, NbdNodeOptions options, CancellationToken cancellationToken)
    {
        if (text == Null)
        {
            throw new UsageException($"'{Null}' can only be the destination");
        }

        return new CopySide(IsUri(text)
            ? await ConnectAsync("source", text, options with { ReadOnly = true }, cancellationToken)
            : RawFileNode.Open("source", Path.GetFullPath(text), readOnly: true));
    }

    /// <summary>Opens the side that is written. A file is made, or emptied, for a whole copy.</summary>
    /// <param name="text">What the user wrote.</param>
    /// <param name="options">How to connect to an export.</param>
    /// <param name="length">The source's size.</param>
    /// <param name="keeps">Whether what the target holds stays: only a part of the disk is copied.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<CopySide> OpenTargetAsync(
        string text, NbdNodeOptions options, long length, bool keeps, CancellationToken cancellationToken)
    {
        if (text == Null)
        {
            return new CopySide(null);
        }

        if (IsUri(text))
        {
            return new CopySide(await ConnectAsync("target", text, options, cancellationToken));
        }

        var path = Path.GetFullPath(text);
        if (Directory.Exists(path))
        {
            throw new CliException($"'{text}' is a folder; name a file in it");
        }

        if (!File.Exists(path) && !keeps)
        {
            return new CopySide(RawFileNode.Create("target", path, length)) { IsZero = true, _created = path };
        }

        // The lock comes before the first change: an image that somebody has open is not emptied.
        var file = RawFileNode.Open("target", path, readOnly: false);
        if (keeps || (File.GetAttributes(path) & FileAttributes.Device) != 0 || !IsRegularFile(path))
        {
            return new CopySide(file);
        }

        try
        {
            file.SetLength(0);
            file.SetLength(length);
            return new CopySide(file) { IsZero = true };
        }
        catch
        {
            await file.DisposeAsync();
            throw;
        }
    }

    /// <summary>Refuses to copy a file onto itself, by whatever names.</summary>
    /// <exception cref="UsageException">It is the same file.</exception>
    public static void CheckDifferent(string source, string target)
    {
        if (!IsUri(source) && !IsUri(target) && Real(source) == Real(target))
        {
            throw new UsageException($"'{source}' and '{target}' are the same file");
        }

        static string Real(string text)
        {
            var path = Path.GetFullPath(text);
            return File.Exists(path) ? File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path : path;
        }
    }

    /// <summary>After a failure: a file that was made for this copy is removed; false when there is none.</summary>
    public bool TryRemoveWhatWasMade()
    {
        if (_created is not { } path)
        {
            return false;
        }

        File.Delete(path);
        return true;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (Node is not null)
        {
            await Node.DisposeAsync();
        }
    }

    private static bool IsUri(string text) => text.StartsWith("nbd", StringComparison.OrdinalIgnoreCase)
        && text.Contains("://", StringComparison.Ordinal);

    // A device has no length as a file: only its end says how long it is.
    private static bool IsRegularFile(string path) =>
        (File.ResolveLinkTarget(path, returnFinalTarget: true) as FileInfo ?? new FileInfo(path)) is { } file
        && !file.FullName.StartsWith("/dev/", StringComparison.Ordinal);

    private static Task<NbdNode> ConnectAsync(
        string name, string text, NbdNodeOptions options, CancellationToken cancellationToken)
    {
        var uri = NbdUri.Parse(text);
        return NbdNode.ConnectAsync(
            name,
            uri.EndPoint,
            options with { ExportName = uri.ExportName, Client = NbdClientOptions.ForUri(uri, options.Client) },
            cancellationToken);
    }
}
