namespace Tidemark.Nbd.Client;

/// <summary>Where a read goes that gets its memory only when its bytes come, so that requests that wait for a server
/// hold none.</summary>
/// <remarks>Called on the connection's thread, once for a request at most; must not block.</remarks>
internal interface ILateTarget
{
    /// <summary>The bytes come: the memory for all of them, lent until the request's task completes.</summary>
    Memory<byte> Take(int length);

    /// <summary>Instead of any bytes: all of them are zero.</summary>
    void SetZero();
}
