using System.Text;

namespace Bellman.Runtime.Tokenizers.Templates;

/// <summary>
/// A string inside a template that remembers, character by character, which message's content it came from (-1: the
/// template itself). Slices, strips, splits and joins keep this, so that after rendering the place of every message is
/// known exactly, whatever the template did with it. A text that came from nowhere carries no list.
/// </summary>
internal sealed class TemplateText
{
    public const int None = -1;

    private readonly int[]? _origins;

    private TemplateText(string value, int[]? origins)
    {
        Value = value;
        _origins = origins;
    }

    public static TemplateText Empty { get; } = new("", null);

    public string Value { get; }

    public int Length => Value.Length;

    public static TemplateText Of(string value) => value.Length == 0 ? Empty : new(value, null);

    public static TemplateText Of(string value, int origin)
    {
        var origins = new int[value.Length];
        Array.Fill(origins, origin);
        return new(value, origins);
    }

    public int OriginAt(int index) => _origins is null ? None : _origins[index];

    public TemplateText Slice(int start, int length) =>
        length <= 0 ? Empty : new(Value.Substring(start, length), _origins?.AsSpan(start, length).ToArray());

    /// <summary>The same characters in another spelling; origins survive when the length does.</summary>
    public TemplateText Respelled(string value) => new(value, value.Length == Value.Length ? _origins : null);

    public static TemplateText operator +(TemplateText left, TemplateText right)
    {
        if (left.Length == 0) return right;
        if (right.Length == 0) return left;
        var builder = new Builder();
        builder.Append(left);
        builder.Append(right);
        return builder.ToText();
    }

    public TemplateText Replace(string old, TemplateText replacement, int limit)
    {
        var builder = new Builder();
        int at = 0;
        for (int done = 0; done != limit && old.Length > 0; done++)
        {
            int found = Value.IndexOf(old, at, StringComparison.Ordinal);
            if (found < 0) break;
            builder.Append(Slice(at, found - at));
            builder.Append(replacement);
            at = found + old.Length;
        }
        builder.Append(Slice(at, Length - at));
        return builder.ToText();
    }

    public TemplateText Trim(Func<char, bool> isTrimmed, bool left, bool right)
    {
        int start = 0, end = Length;
        while (left && start < end && isTrimmed(Value[start])) start++;
        while (right && end > start && isTrimmed(Value[end - 1])) end--;
        return start == 0 && end == Length ? this : Slice(start, end - start);
    }

    /// <summary>Splits at a separator, or at runs of whitespace when it is null.</summary>
    public List<object?> Split(string? separator, int limit)
    {
        var parts = new List<object?>();
        int at = 0;
        if (separator is null)
        {
            while (true)
            {
                while (at < Length && char.IsWhiteSpace(Value[at])) at++;
                if (at >= Length) return parts;
                int end = at;
                if (parts.Count == limit) end = Trim(char.IsWhiteSpace, false, true).Length;
                else while (end < Length && !char.IsWhiteSpace(Value[end])) end++;
                parts.Add(Slice(at, end - at));
                at = end;
            }
        }
        while (parts.Count != limit && Value.IndexOf(separator, at, StringComparison.Ordinal) is int found and >= 0)
        {
            parts.Add(Slice(at, found - at));
            at = found + separator.Length;
        }
        parts.Add(Slice(at, Length - at));
        return parts;
    }

    public override string ToString() => Value;

    public override bool Equals(object? other) => other is TemplateText text && text.Value == Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    /// <summary>Collects texts.</summary>
    internal sealed class Builder
    {
        private readonly StringBuilder _value = new();
        private List<int>? _origins;

        public int Length => _value.Length;

        public void Append(TemplateText text)
        {
            if (text._origins is not null && _origins is null)
            {
                _origins = new List<int>(_value.Length + text.Length);
                for (int i = 0; i < _value.Length; i++) _origins.Add(None);
            }
            _value.Append(text.Value);
            if (_origins is null) return;
            if (text._origins is not null) _origins.AddRange(text._origins);
            else for (int i = 0; i < text.Length; i++) _origins.Add(None);
        }

        public TemplateText ToText() => _value.Length == 0 ? Empty : new(_value.ToString(), _origins?.ToArray());
    }
}
