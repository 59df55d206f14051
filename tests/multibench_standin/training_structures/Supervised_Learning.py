"""The loop's calling conventions; keeps tensors, saves the whole module."""

import torch
from torch import nn


class MMDL(nn.Module):
    def __init__(self, encoders, fusion, head, has_padding=False):
        super().__init__()
        self.encoders, self.fuse, self.head = nn.ModuleList(encoders), fusion, head
        self.has_padding, self.fuseout, self.reps = has_padding, None, []

    def forward(self, inputs):
        if self.has_padding:
            pairs = [list(pair) for pair in zip(inputs[0], inputs[1], strict=True)]
            self.reps = [e(pair) for e, pair in zip(self.encoders, pairs, strict=True)]
        else:
            self.reps = [e(x) for e, x in zip(self.encoders, inputs, strict=True)]
        several = self.has_padding and not isinstance(self.reps[0], torch.Tensor)
        self.fuseout = self.fuse([rep[0] for rep in self.reps] if several else self.reps)
        out = self.fuseout[0] if type(self.fuseout) is tuple else self.fuseout
        return self.head([out, inputs[1][0]] if several else out)


def deal_with_objective(objective, pred, truth, args):
    if type(objective) is nn.CrossEntropyLoss:
        return objective(pred, truth.reshape(len(pred)).long())
    if type(objective) is nn.MSELoss:
        return objective(pred, truth.float())
    return objective(pred, truth, args)


def train(
    encoders, fusion, head, train_dataloader, valid_dataloader, total_epochs,
    additional_optimizing_modules=(), is_packed=False, early_stop=False, task="classification",
    optimtype=torch.optim.RMSprop, lr=0.001, weight_decay=0.0, objective=nn.CrossEntropyLoss(),  # noqa: B008
    auprc=False, save="best.pt", validtime=False, objective_args_dict=None, input_to_float=True,
    clip_val=8, track_complexity=True,
):  # fmt: skip
    model = MMDL(encoders, fusion, head, has_padding=is_packed)
    op = optimtype([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=weight_decay)  # noqa: E501  # fmt: skip
    best = None

    def step(batch, training):
        out = model(_inputs(batch, is_packed))
        if objective_args_dict is not None:
            objective_args_dict.update(
                reps=model.reps, fused=model.fuseout, inputs=batch[:-1], training=training
            )
        return out, deal_with_objective(objective, out, batch[-1], objective_args_dict)

    for _ in range(total_epochs):
        model.train()
        for batch in train_dataloader:
            op.zero_grad()
            step(batch, True)[1].backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip_val)
            op.step()
        model.eval()
        loss, right, count = 0.0, 0, 0
        with torch.no_grad():
            for batch in valid_dataloader:
                out, part = step(batch, False)
                loss += float(part) * len(batch[-1])
                count += len(batch[-1])
                if task == "classification":
                    right += int((out.argmax(1) == batch[-1].reshape(-1)).sum())
        value = right / count if task == "classification" else -loss / count
        if value > (0 if best is None and task == "classification" else best or -10000):
            best = value
            torch.save(model, save)


def single_test(model, test_dataloader, is_packed=False, criterion=None, task="classification",
                auprc=False, input_to_float=True):  # fmt: skip
    model.eval()
    right, error, count = 0, 0.0, 0
    with torch.no_grad():
        for batch in test_dataloader:
            out = model(_inputs(batch, is_packed))
            if task == "classification":
                right += int((out.argmax(1) == batch[-1].reshape(-1)).sum())
            else:
                error += float(criterion(out, batch[-1].float())) * len(out)
            count += len(out)
    return {"Accuracy": right / count} if task == "classification" else {"MSE": error / count}


def _inputs(batch, is_packed):
    if is_packed:
        return [[x.float() for x in batch[0]], batch[1]]
    return [x.float() for x in batch[:-1]]
