namespace Tidemark.Qcow2;

// From read-only to writable and back, while the image stays open. It is what closing and opening do for the file, so
// their argument holds here too (BitmapStore): before the first write can be made every bitmap is in use on disk; when
// the node is read-only again, and not before, those that are in step are stored as such. No request is under way.
public sealed partial class Qcow2Node
{
    /// <inheritdoc/>
    protected override async ValueTask SetReadOnlyCoreAsync(bool readOnly)
    {
        if (readOnly)
        {
            await StoreAllAsync().ConfigureAwait(false);
            _isReadOnly = true;
            return;
        }

        CheckMayBeWritten(Name, Header, _fileChild.Node, _dataChild?.Node);
        if (_isSnapshot)
        {
            throw Invalid($"node '{Name}' shows a snapshot: it can only be read");
        }

        if (Header.IsDirty)
        {
            throw Qcow2Exception.Corrupt(
                $"the image of node '{Name}' was not closed cleanly: its refcounts are rebuilt when it is opened "
                + "writable, not while it is open");
        }

        if (BitmapProblem is { } problem)
        {
            throw Qcow2Exception.Corrupt($"node '{Name}' cannot be made writable: {problem}");
        }

        await PrepareForWritingAsync(CancellationToken.None).ConfigureAwait(false);
        _isReadOnly = false;
    }

    // After a failure the node stays writable only if every bitmap on disk is in use again for sure: a header that
    // could not be written may be on disk all the same, and name bitmaps that are in step. So it is written again as it
    // is in memory. Where even that fails, no further write is taken.
    private async ValueTask StoreAllAsync()
    {
        try
        {
            await CloseAsync().ConfigureAwait(false);
        }
        catch
        {
            _isReadOnly = true;
            await _metadata.UpdateHeaderAsync(header => header, CancellationToken.None).ConfigureAwait(false);
            await _bitmapStore.MarkInUseAsync(CancellationToken.None).ConfigureAwait(false);
            _isReadOnly = false;
            throw;
        }
    }
}
