using Tidemark.Nbd.Client;

namespace Tidemark.Engine.Tests.Harness;

/// <summary>A guest: writes to an export and knows what it must read.</summary>
internal sealed class Guest(NbdNode disk, Random random) : IAsyncDisposable
{
    internal byte[] Model { get; } = new byte[disk.Length];

    internal async Task WriteAsync(int offset, int length)
    {
        var bytes = new byte[length];
        random.NextBytes(bytes);
        await disk.WriteAsync(offset, bytes);
        bytes.CopyTo(Model, offset);
    }

    /// <summary>A few writes, zeroes among them, anywhere.</summary>
    internal async Task WriteSomewhereAsync(int count)
    {
        for (var index = 0; index < count; index++)
        {
            var length = random.Next(1, 100_000);
            var offset = random.Next(Model.Length - length);
            if (random.Next(4) == 0)
            {
                await disk.WriteZeroesAsync(offset, length);
                Model.AsSpan(offset, length).Clear();
            }
            else
            {
                await WriteAsync(offset, length);
            }
        }
    }

    public ValueTask DisposeAsync() => disk.DisposeAsync();
}
