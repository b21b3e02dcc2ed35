using System.Text;

namespace Bellman.Runtime.Tests.Tokenizers;

/// <summary>Writes small SentencePiece models (protobuf).</summary>
internal static class SentencePiece
{
    /// <param name="type">1 unigram, 2 BPE.</param>
    /// <param name="pieces">Text, score, kind (1 normal, 2 unknown, 3 control, 6 byte).</param>
    public static byte[] Model(int type, (string Text, float Score, int Kind)[] pieces)
    {
        var model = new MemoryStream();
        foreach ((string text, float score, int kind) in pieces)
        {
            byte[] name = Encoding.UTF8.GetBytes(text);
            Field(model, 1, [0x0A, (byte)name.Length, .. name, 0x15, .. BitConverter.GetBytes(score), 0x18, (byte)kind]);
        }
        Field(model, 2, [0x18, (byte)type]);
        return model.ToArray();
    }

    private static void Field(MemoryStream stream, int number, byte[] bytes)
    {
        stream.WriteByte((byte)(number << 3 | 2));
        stream.WriteByte((byte)bytes.Length);
        stream.Write(bytes);
    }
}
