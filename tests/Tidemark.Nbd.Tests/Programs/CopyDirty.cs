using Tidemark.Blocks.Extents;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Tests.Programs;

/// <summary>A program of the library's README, word for word between the two marks.</summary>
internal static class CopyDirty
{
    internal static async Task RunAsync(string[] args)
    {
        // begin
        var bitmap = MetaContextNames.ForDirtyBitmap(args[1]);
        await using var source = await NbdClient.ConnectAsync(
            NbdUri.Parse(args[0]), new NbdClientOptions { MetaContexts = [bitmap] });
        await using var target = File.OpenWrite(args[2]);
        target.SetLength(source.Length);

        var extents = new ExtentList();
        await source.GetExtentsAsync(bitmap, 0, source.Length, extents);
        var buffer = new byte[1 << 20];
        foreach (var extent in extents.Where(extent => extent.IsDirty))
        {
            for (var offset = extent.Offset; offset < extent.End;)
            {
                var piece = buffer.AsMemory(0, (int)Math.Min(buffer.Length, extent.End - offset));
                await source.ReadAsync(offset, piece);
                target.Position = offset;
                await target.WriteAsync(piece);
                offset += piece.Length;
            }
        }
        // end
    }
}
