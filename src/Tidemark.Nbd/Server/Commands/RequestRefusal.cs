using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Commands;

/// <summary>Why a request is not served.</summary>
/// <param name="Error">The code for the client.</param>
/// <param name="Message">Words for people.</param>
internal readonly record struct RequestRefusal(NbdError Error, string Message);
