using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Tests.Programs;

/// <summary>A program of the library's README, word for word between the two marks.</summary>
internal static class ListAndRead
{
    internal static async Task RunAsync(string[] args)
    {
        // begin
        var uri = NbdUri.Parse(args[0]);
        var options = NbdClientOptions.ForUri(uri);
        foreach (var export in await NbdClient.ListExportsAsync(uri.EndPoint, options))
        {
            Console.WriteLine($"{export.Name}: {export.Description}");
        }

        await using var client = await NbdClient.ConnectAsync(uri);
        var sector = new byte[512];
        await client.ReadAsync(0, sector);
        Console.WriteLine($"{client.Length} bytes, the first is {sector[0]}");
        // end
    }
}
