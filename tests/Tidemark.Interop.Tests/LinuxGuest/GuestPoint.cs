namespace Tidemark.Interop.Tests.LinuxGuest;

/// <summary>A restore point of a Linux guest's disk, and what the guest had said around its instant.</summary>
/// <param name="Image">The image that holds it, or the id of its snapshot.</param>
/// <param name="Kind">Full or incremental.</param>
/// <param name="Before">The last file that the guest had called durable just before the transaction.</param>
/// <param name="Logged">The last line of the log of which it had.</param>
/// <param name="After">The last file that it had called durable just after it.</param>
/// <param name="Begun">The last file that it had begun when the backup was over.</param>
internal sealed record GuestPoint(string Image, string Kind, int Before, int Logged, int After, int Begun);
