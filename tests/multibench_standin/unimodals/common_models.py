from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence


class MLP(nn.Module):
    def __init__(self, indim, hiddim, outdim, dropout=False, dropoutp=0.1, output_each_layer=False):
        super().__init__()
        self.fc, self.fc2 = nn.Linear(indim, hiddim), nn.Linear(hiddim, outdim)
        self.dropout = nn.Dropout(dropoutp if dropout else 0.0)

    def forward(self, x):
        return self.dropout(self.fc2(self.dropout(self.fc(x).relu())))


class GRU(nn.Module):
    def __init__(
        self, indim, hiddim, dropout=False, dropoutp=0.1, flatten=False, has_padding=False
    ):
        super().__init__()
        self.gru = nn.GRU(indim, hiddim, batch_first=True)
        self.has_padding = has_padding

    def forward(self, x):
        if self.has_padding:
            packed = pack_padded_sequence(x[0], x[1], batch_first=True, enforce_sorted=False)
            return self.gru(packed)[1][-1]
        return self.gru(x)[0]
