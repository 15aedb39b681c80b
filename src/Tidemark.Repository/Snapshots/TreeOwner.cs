namespace Tidemark.Repository.Snapshots;

/// <summary>What all entries of a restore point share.</summary>
/// <param name="Time">Their times.</param>
/// <param name="User">The owner's name.</param>
/// <param name="UserId">The owner's number.</param>
/// <param name="GroupId">The group's number.</param>
internal sealed record TreeOwner(DateTimeOffset Time, string User, uint UserId, uint GroupId);
