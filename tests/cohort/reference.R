# The statistics of a cohort as R computes them: Rscript reference.R FOLDER. Prints a name and a value per line.
suppressMessages(library(pROC))
folder <- commandArgs(TRUE)[1]
read <- function(name) read.csv(file.path(folder, name), stringsAsFactors = FALSE)
say <- function(name, value) cat(sprintf("%s\t%.15g\n", name, as.numeric(value)), sep = "")

two_groups <- function(name, a, b) {
  g <- factor(rep(c("a", "b"), c(length(a), length(b))))
  x <- c(a, b)
  levene <- anova(lm(abs(x - ave(x, g)) ~ g))
  say(paste0(name, ".levene_f"), levene[1, "F value"])
  say(paste0(name, ".levene_p"), levene[1, "Pr(>F)"])
  t <- t.test(a, b, var.equal = levene[1, "Pr(>F)"] >= 0.05)
  say(paste0(name, ".t"), t$statistic)
  say(paste0(name, ".df"), t$parameter)
  say(paste0(name, ".p"), t$p.value)
  say(paste0(name, ".low"), t$conf.int[1])
  say(paste0(name, ".high"), t$conf.int[2])
  say(paste0(name, ".mann_whitney_p"), suppressWarnings(wilcox.test(a, b))$p.value)
  for (side in c("a", "b")) {
    v <- get(side)
    say(paste0(name, ".", side, ".", c("mean", "sd", "median", "q1", "q3", "min", "max")),
        c(mean(v), sd(v), median(v), quantile(v, c(.25, .75)), min(v), max(v)))
  }
}

counts <- function(name, entry, case) {
  t <- table(entry, case)
  chi <- suppressWarnings(chisq.test(t, correct = FALSE))
  say(paste0(name, ".chi2"), chi$statistic)
  p <- if (min(chi$expected) >= 5) chi$p.value else fisher.test(t, workspace = 2e6)$p.value
  say(paste0(name, ".p"), p)
}

wilson <- function(name, k, n) {
  say(paste0(name, c(".share", ".low", ".high")), c(k / n, prop.test(k, n, correct = FALSE)$conf.int))
}

youden <- function(value, case) {
  r <- roc(case, value, levels = c(0, 1), direction = ">", quiet = TRUE)
  j <- r$sensitivities + r$specificities
  ok <- is.finite(r$thresholds)
  best <- r$thresholds[ok & j >= max(j[ok]) - 1e-9]
  min(best)
}

logistic <- function(name, model, per) {
  s <- summary(model)$coefficients[-1, , drop = FALSE]
  ci <- confint.default(model)[-1, , drop = FALSE]
  for (i in seq_len(nrow(s))) {
    by <- if (i == 1) per else 1
    say(paste0(name, ".", i, c(".coefficient", ".se", ".p", ".or", ".low", ".high")),
        c(s[i, 1], s[i, 2], s[i, 4], exp(s[i, 1] * by), exp(ci[i, ] * by)))
  }
  say(paste0(name, ".p"), 1 - pchisq(model$null.deviance - model$deviance, model$df.null - model$df.residual))
}

roc_of <- function(name, d) {
  r <- roc(d$case, d$bmd, levels = c(0, 1), direction = ">", quiet = TRUE)
  ci <- ci.auc(r, method = "delong")
  se <- sqrt(var(r, method = "delong"))
  say(paste0(name, c(".auc", ".se", ".low", ".high", ".p")),
      c(ci[2], se, ci[1], ci[3], 2 * pnorm(-abs(ci[2] - 0.5) / se)))
  say(paste0(name, ".p_null"), suppressWarnings(
    wilcox.test(d$bmd[d$case == 1], d$bmd[d$case == 0], exact = FALSE, correct = FALSE))$p.value)
  best <- youden(d$bmd, d$case)
  say(paste0(name, ".threshold"), best)
  for (cut in c(best, 80)) {
    here <- paste0(name, if (cut == 80) ".acr" else ".best")
    wilson(paste0(here, ".sensitivity"), sum(d$bmd < cut & d$case == 1), sum(d$case == 1))
    wilson(paste0(here, ".specificity"), sum(d$bmd >= cut & d$case == 0), sum(d$case == 0))
  }
}

d <- read("cohort.csv")
case <- d$case == 1
two_groups("bmd", d$bmd[case], d$bmd[!case])
two_groups("age", d$age[case], d$age[!case])
two_groups("by_sex", d$bmd[d$sex == "F"], d$bmd[d$sex == "M"])
counts("sex", d$sex, d$case)
counts("construct", d$construct, d$case)
counts("classes", d$category, d$case)
for (class in c("osteoporosis", "low_bone_mass", "normal")) counts(class, d$category == class, d$case)
roc_of("roc", d)
logistic("crude", glm(case ~ bmd, binomial, d, epsilon = 1e-12), 10)
logistic("adjusted", glm(case ~ bmd + age + (sex == "M") + bmi, binomial, d, epsilon = 1e-12), 10)
pairs <- read("pairs.csv")
paired <- t.test(pairs$case, pairs$control, paired = TRUE)
say(paste0("paired", c(".difference", ".low", ".high", ".t", ".p")),
    c(paired$estimate, paired$conf.int, paired$statistic, paired$p.value))

# bootstrap over the same samples
picks <- as.matrix(read("resamples.csv"))
cuts <- apply(picks, 1, function(i) {
  value <- c(d$bmd[case][i[1:23]], d$bmd[!case][i[24:46]])
  youden(value, rep(1:0, each = 23))
})
say(c("roc.threshold.low", "roc.threshold.high"), quantile(cuts, c(.025, .975)))

# unequal variances, ties, empty and rare entries
s <- read("small.csv")
two_groups("small", s$bmd[s$case == 1], s$bmd[s$case == 0])
counts("rare", s$rare, s$case)
counts("rare_two", s$rare == "a", s$case)
roc_of("small_roc", s)

agreement <- function(name, x, y, ratio) {
  n <- length(x)
  dif <- x - y
  bias <- t.test(dif)
  say(paste0(name, c(".bias", ".bias.low", ".bias.high", ".sd")), c(bias$estimate, bias$conf.int, sd(dif)))
  limits <- mean(dif) + c(-1.96, 1.96) * sd(dif)
  half <- qt(.975, n - 1) * sqrt(3 * var(dif) / n)
  say(paste0(name, c(".lower", ".lower.low", ".upper", ".upper.high")),
      c(limits[1], limits[1] - half, limits[2], limits[2] + half))
  slope <- summary(lm(dif ~ I((x + y) / 2)))$coefficients
  say(paste0(name, c(".slope", ".slope_p")), c(slope[2, 1], slope[2, 4]))
  # intraclass correlation from the mean squares of a two-way analysis of variance
  long <- data.frame(v = c(x, y), s = factor(rep(1:n, 2)), m = factor(rep(1:2, each = n)))
  ms <- summary(aov(v ~ s + m, long))[[1]][, "Mean Sq"]
  r <- ms[1]; c <- ms[2]; e <- ms[3]
  say(paste0(name, ".icc_c"), (r - e) / (r + e))
  f <- r / e
  fl <- f / qf(.975, n - 1, n - 1); fu <- f * qf(.975, n - 1, n - 1)
  say(paste0(name, c(".icc_c.low", ".icc_c.high")), c((fl - 1) / (fl + 1), (fu - 1) / (fu + 1)))
  # Shrout and Fleiss, Psychol Bull 1979;86:420, case 2
  icc <- (r - e) / (r + e + 2 * (c - e) / n)
  say(paste0(name, ".icc_a"), icc)
  fj <- c / e
  v <- (n - 1) * (2 * icc * fj + n * (1 + icc) - 2 * icc)^2 /
    ((n - 1) * 4 * icc^2 * fj^2 + (n * (1 + icc) - 2 * icc)^2)
  up <- qf(.975, n - 1, v); down <- qf(.975, v, n - 1)
  say(paste0(name, ".icc_a.low"), n * (r - up * e) / (up * (2 * c + (2 * n - 2 - n) * e) + n * r))
  say(paste0(name, ".icc_a.high"), n * (down * r - e) / (2 * c + (2 * n - 2 - n) * e + n * down * r))
  # Deming: the first principal component, after scaling to equal errors
  line <- function(x, y) {
    p <- prcomp(cbind(x, y / sqrt(ratio)))$rotation[, 1]
    b <- p[2] / p[1] * sqrt(ratio)
    c(b, mean(y) - b * mean(x))
  }
  all <- line(x, y)
  left <- sapply(1:n, function(i) line(x[-i], y[-i]))
  se <- apply(left, 1, function(v) sqrt((n - 1) / n * sum((v - mean(v))^2)))
  half <- qt(.975, n - 2) * se
  say(paste0(name, c(".slope_d", ".intercept", ".slope_d.low", ".slope_d.high", ".intercept.low", ".intercept.high")),
      c(all, all[1] + c(-1, 1) * half[1], all[2] + c(-1, 1) * half[2]))
}
agreement("qct", d$bmd, d$qct, 1)
agreement("qct2", d$bmd, d$qct, 2.5)

scans <- read("repeats.csv")
fit <- anova(lm(value ~ subject, scans))
say("repeats.rms_sd", sqrt(fit["Residuals", "Mean Sq"]))
df <- fit["Residuals", "Df"]
cv <- tapply(scans$value, scans$subject, function(v) 100 * sd(v) / mean(v))
weight <- tapply(scans$value, scans$subject, length) - 1
rms <- sqrt(weighted.mean(cv^2, weight))
say("repeats.df", df)
say("repeats.rms_cv", rms)
say(c("repeats.rms_cv.low", "repeats.rms_cv.high"), rms * sqrt(df / qchisq(c(.975, .025), df)))
say("repeats.lsc_percent", 2.77 * rms)
