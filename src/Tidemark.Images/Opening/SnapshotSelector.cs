using Tidemark.Blocks.Nodes;
using Tidemark.Images.Naming;
using Tidemark.Qcow2;
using Tidemark.Qcow2.Format;

namespace Tidemark.Images.Opening;

/// <summary>Which internal snapshot of an image is meant, written as qemu-img's <c>-l</c> takes it: an id or a name, or
/// <c>snapshot.id=ID,snapshot.name=NAME</c>, either or both.</summary>
public sealed record SnapshotSelector
{
    private const string IdKey = "snapshot.id", NameKey = "snapshot.name";

    private readonly string _text;
    private readonly string? _id;
    private readonly string? _name;

    private SnapshotSelector(string text, string? id, string? name) => (_text, _id, _name) = (text, id, name);

    /// <summary>Reads the text of <c>-l</c>.</summary>
    /// <exception cref="ImageException">It begins as options do and has others than these two.</exception>
    public static SnapshotSelector Parse(string text)
    {
        if (!text.StartsWith("snapshot.", StringComparison.Ordinal))
        {
            return new SnapshotSelector(text, null, null);
        }

        string? id = null, name = null;
        foreach (var (key, value) in OptionText.Split(text))
        {
            switch (key)
            {
                case IdKey:
                    id = value;
                    break;
                case NameKey:
                    name = value;
                    break;
                default:
                    throw ImageException.Invalid($"Invalid parameter '{key}': {IdKey} and {NameKey} are the ones");
            }
        }

        return new SnapshotSelector(text, id, name);
    }

    /// <summary>Finds it: an id goes before a name.</summary>
    /// <exception cref="BlockException">The image has none such, or its table is damaged.</exception>
    internal async ValueTask<InternalSnapshot> FindAsync(
        BlockNode file, string imageName, CancellationToken cancellationToken)
    {
        var all = await Qcow2Image.ReadSnapshotsAsync(file, cancellationToken).ConfigureAwait(false);
        var found = _id is null && _name is null
            ? all.FirstOrDefault(snapshot => snapshot.Id == _text)
                ?? all.FirstOrDefault(snapshot => snapshot.Name == _text)
            : all.FirstOrDefault(snapshot =>
                (_id is null || snapshot.Id == _id) && (_name is null || snapshot.Name == _name));
        return found ?? throw new ImageException(
            BlockErrorKind.NotFound,
            $"Failed to load snapshot: Can't find snapshot '{_text}' in '{imageName}', which has {all.Count}");
    }
}
