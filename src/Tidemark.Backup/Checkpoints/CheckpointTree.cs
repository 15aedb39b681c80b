using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Checkpoints;

/// <summary>A domain's checkpoints and how they follow each other. Immutable.</summary>
/// <remarks>A parent that is not there makes a root. What comes from files may hold a circle, which the store refuses;
/// here a walk is never longer than the list.</remarks>
public sealed class CheckpointTree
{
    private readonly Dictionary<string, CheckpointDefinition> _byName;

    /// <summary>Creates a tree.</summary>
    /// <param name="definitions">The definitions; each has a name, no name twice.</param>
    /// <param name="current">The name of the current one; null when there is none.</param>
    public CheckpointTree(IEnumerable<CheckpointDefinition> definitions, string? current)
    {
        // By time, then by name: the order of creation as far as seconds tell it.
        All = [.. definitions.OrderBy(one => one.CreationTime).ThenBy(one => one.Name, StringComparer.Ordinal)];
        _byName = All.ToDictionary(one => one.Name!, StringComparer.Ordinal);
        Current = current is not null && _byName.ContainsKey(current) ? current : null;
    }

    /// <summary>All checkpoints, oldest first.</summary>
    public IReadOnlyList<CheckpointDefinition> All { get; }

    /// <summary>The checkpoint that the next one follows; null when there is none.</summary>
    public string? Current { get; }

    /// <summary>The checkpoints without a parent.</summary>
    public IEnumerable<CheckpointDefinition> Roots => All.Where(one => ParentOf(one) is null);

    /// <summary>The checkpoint of that name, or null.</summary>
    public CheckpointDefinition? Find(string name) => _byName.GetValueOrDefault(name);

    /// <summary>The checkpoint of that name.</summary>
    /// <exception cref="BackupException">There is none.</exception>
    public CheckpointDefinition Get(string name) => Find(name) ?? throw new BackupException(
        BackupErrorKind.Request,
        All.Count == 0
            ? $"no domain checkpoint with matching name '{name}': the domain has none"
            : $"no domain checkpoint with matching name '{name}'; there are "
                + string.Join(", ", All.Select(one => $"'{one.Name}'")));

    /// <summary>Its parent, or null.</summary>
    public CheckpointDefinition? ParentOf(CheckpointDefinition checkpoint) =>
        checkpoint.Parent is { } parent ? Find(parent) : null;

    /// <summary>Those that follow it directly.</summary>
    public IEnumerable<CheckpointDefinition> ChildrenOf(string name) =>
        All.Where(one => one.Parent == name && one.Name != name);

    /// <summary>All that follow it, each before its own children; not itself.</summary>
    public IReadOnlyList<CheckpointDefinition> DescendantsOf(string name)
    {
        List<CheckpointDefinition> found = [];
        HashSet<string> seen = new(StringComparer.Ordinal) { name };
        Stack<string> open = new([name]);
        while (open.TryPop(out var next))
        {
            var children = ChildrenOf(next).Where(child => seen.Add(child.Name!)).ToList();
            found.AddRange(children);
            for (var index = children.Count - 1; index >= 0; index--)
            {
                open.Push(children[index].Name!);
            }
        }

        return found;
    }

    /// <summary>All, each parent before its children.</summary>
    public IReadOnlyList<CheckpointDefinition> Topological =>
        [.. Roots.SelectMany(root => new[] { root }.Concat(DescendantsOf(root.Name!)))];

    /// <summary>Whether a parent would make a circle.</summary>
    public bool WouldCircle(string name, string parent)
    {
        var next = parent;
        for (var steps = 0; steps <= All.Count; steps++)
        {
            if (next == name)
            {
                return true;
            }

            if (Find(next)?.Parent is not { } up)
            {
                return false;
            }

            next = up;
        }

        return true;
    }
}
